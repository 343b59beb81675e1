//! The session object, as every route shows it (contract, section 5).

use poem_openapi::Object;
use serde::{Deserialize, Serialize};
use serde_with_macros::skip_serializing_none;

use crate::domain::end::{End, EndReason};
use crate::domain::session::{Device, Standing, State};
use crate::engine::read::View;
use crate::http::request::{DateTime, Parsed, RawObject, ShortText, Text, UserAgent};
use crate::store::StoreError;

/// A session.
#[skip_serializing_none]
#[derive(Debug, Serialize, Deserialize, Object)]
#[oai(rename = "Session")]
pub struct SessionObject {
    /// Its identifier, `sid` in tokens.
    pub id: String,
    /// The subject that signed in.
    pub subject: String,
    /// The client that the session was opened for.
    pub client_id: String,
    /// The client that opened it, or `admin.sock`.
    pub opened_by: String,
    /// `active`, `expired` or `ended`.
    pub state: Parsed<State>,
    /// When it was opened.
    pub created_at: DateTime,
    /// When the subject last authenticated.
    pub authenticated_at: DateTime,
    /// When it was last used.
    pub last_used_at: DateTime,
    /// When it expires without further activity.
    pub idle_expires_at: DateTime,
    /// When it expires at the latest; only a renewal moves it.
    pub expires_at: DateTime,
    /// The authentication context class that the subject reached (RFC 9470).
    pub acr: Option<String>,
    /// The methods that the subject authenticated with (RFC 8176).
    pub amr: Vec<String>,
    /// The granted scope: names joined by spaces.
    pub scope: String,
    /// The device that the subject signed in on.
    pub device: DeviceObject,
    /// Included in its tokens and in introspection.
    pub claims: RawObject,
    /// Private to the session; only for its opener and the client it was opened for.
    pub data: Option<RawObject>,
    /// Whether the `remember` timeouts of the policy apply.
    pub remember: bool,
    /// Its refresh-token families.
    pub families: Vec<FamilyObject>,
    /// When, why and by whom it was ended; null if it was not.
    #[oai(nullable)]
    #[serialize_always]
    pub ended: Option<Ended>,
    /// The number of changes and renewals, from 1; refreshes do not count.
    pub version: u32,
}

/// The device that a subject signed in on, as the caller describes it.
#[skip_serializing_none]
#[derive(Debug, Default, Serialize, Deserialize, Object)]
#[oai(rename = "Device")]
#[serde(deny_unknown_fields)]
pub struct DeviceObject {
    /// The `User-Agent` of the browser or program: 1 to 1024 bytes.
    pub user_agent: Option<Text<UserAgent>>,
    /// The address of the device: 1 to 256 bytes.
    pub ip: Option<Text<ShortText>>,
    /// The name that the user gave the device: 1 to 256 bytes.
    pub label: Option<Text<ShortText>>,
}

/// A refresh-token family.
#[derive(Debug, Serialize, Deserialize, Object)]
#[oai(rename = "Family")]
pub struct FamilyObject {
    /// The number in the session, `fam` in tokens.
    pub id: u16,
    /// `active`, `expired` or `ended`.
    pub state: Parsed<State>,
    /// The client that it was issued to.
    pub client_id: String,
    /// The granted scope: names joined by spaces.
    pub scope: String,
    /// The audience of its access tokens.
    pub audience: String,
    /// How many times its refresh token was rotated.
    pub generation: u32,
    /// When its refresh token was last issued.
    pub refreshed_at: DateTime,
}

/// The end of a session.
#[derive(Debug, Serialize, Deserialize, Object)]
pub struct Ended {
    /// When the session ended.
    pub at: DateTime,
    /// Why the session ended.
    pub reason: Parsed<EndReason>,
    /// Who ended it: a client, `admin.sock`, `console` (an operator there), or `keyfob` itself.
    pub by: String,
}

impl SessionObject {
    /// A session as a caller sees it.
    ///
    /// # Errors
    /// `Corrupt` if the stored claims or data are not JSON.
    pub fn new(view: View) -> Result<Self, StoreError> {
        let View { session, standing, active_families, data } = view;
        let families = session.families.iter().zip(active_families).map(|(family, is_active)| FamilyObject {
            id: family.number,
            state: Parsed(if is_active { State::from(&standing) } else { State::Ended }),
            client_id: family.client_id.to_string(),
            scope: family.scope.to_string(),
            audience: family.audience.to_string(),
            generation: family.generation,
            refreshed_at: Parsed(family.refreshed_at),
        });
        let claims = session.claims.as_ref().map(|claims| &*claims.0);
        let claims = RawObject::stored(claims, session.id, "its claims are not JSON")?;
        let data = data.map(|data| {
            let data = data.as_ref().map(|data| &*data.0);
            RawObject::stored(data, session.id, "its data is not JSON")
        });
        Ok(Self {
            id: session.id.to_string(),
            subject: session.subject.as_str().into(),
            client_id: session.client_id.to_string(),
            opened_by: session.opened_by.to_string(),
            state: Parsed(State::from(&standing)),
            created_at: Parsed(session.created_at),
            authenticated_at: Parsed(session.authentication.at),
            last_used_at: Parsed(session.last_used_at),
            idle_expires_at: Parsed(session.idle_expires_at()),
            expires_at: Parsed(session.expires_at),
            acr: session.authentication.acr.as_deref().map(Into::into),
            amr: session.authentication.amr.iter().map(ToString::to_string).collect(),
            scope: session.scope.to_string(),
            families: families.collect(),
            device: session.device.into(),
            claims,
            data: data.transpose()?,
            remember: session.remember,
            ended: match standing {
                Standing::Ended(End { at, reason, by }) => {
                    Some(Ended { at: Parsed(at), reason: Parsed(reason), by: by.into() })
                }
                Standing::Active | Standing::Expired => None,
            },
            version: session.version,
        })
    }
}

impl From<Device> for DeviceObject {
    fn from(device: Device) -> Self {
        fn text<T>(text: Option<Box<str>>) -> Option<Text<T>> {
            text.map(|text| String::from(text).into())
        }
        Self { user_agent: text(device.user_agent), ip: text(device.ip), label: text(device.label) }
    }
}

impl From<DeviceObject> for Device {
    fn from(device: DeviceObject) -> Self {
        fn text<T>(text: Option<Text<T>>) -> Option<Box<str>> {
            text.map(|text| text.0.into())
        }
        Self { user_agent: text(device.user_agent), ip: text(device.ip), label: text(device.label) }
    }
}
