//! What a caller attaches to a session: the device, and private data.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::domain::hidden::hidden;
use crate::domain::refusal::Refused;
use crate::domain::text::{TEXT_BYTES_MAX, bounded_text, json_text};

/// The longest `device.user_agent`, in bytes.
pub const USER_AGENT_BYTES_MAX: usize = 1024;
/// The largest `data`, in bytes of JSON.
const DATA_BYTES_MAX: usize = 16 * 1024;

/// Where a session was opened. Personal: `Debug` shows nothing.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// The `User-Agent` of the browser or program.
    pub user_agent: Option<Box<str>>,
    pub ip: Option<Box<str>>,
    /// The subject's name for it.
    pub label: Option<Box<str>>,
}

impl Device {
    /// The device, if each of its texts has a valid form.
    ///
    /// # Errors
    /// `Invalid`, naming the field.
    pub fn checked(self) -> Result<Self, Refused> {
        let check = |field, text: Option<Box<str>>, bytes_max| {
            text.map(|text| bounded_text(field, &text, bytes_max)).transpose()
        };
        Ok(Self {
            user_agent: check("device.user_agent", self.user_agent, USER_AGENT_BYTES_MAX)?,
            ip: check("device.ip", self.ip, TEXT_BYTES_MAX)?,
            label: check("device.label", self.label, TEXT_BYTES_MAX)?,
        })
    }
}

hidden!(Device, Data);

/// A session's private data: a JSON object as text. Personal: `Debug` shows nothing.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Data(pub Box<str>);

impl Data {
    /// The canonical text of an object of at most 16 KiB.
    ///
    /// # Errors
    /// `Invalid`, naming `data`.
    pub fn from_object(object: &Map<String, Value>) -> Result<Self, Refused> {
        json_text("data", object, DATA_BYTES_MAX).map(Self)
    }
}
