//! `keyfob subject …`: all sessions of one subject.

use clap::Subcommand;
use clap::builder::NonEmptyStringValueParser;
use http::Method;

use super::door::{Door, encoded};
use super::print::{print_json, print_lines};
use super::{Failure, Output};

/// What can be done with subjects.
#[derive(Debug, Subcommand)]
pub enum SubjectCommand {
    /// Ends every session of a subject: "log out everywhere".
    Revoke {
        /// The subject.
        #[arg(value_parser = NonEmptyStringValueParser::new())]
        subject: String,
        /// The session that stays: "sign out everywhere else".
        #[arg(long, value_name = "ID")]
        except: Option<String>,
        /// Why, in your own words; kept in the event log.
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
    },
}

impl SubjectCommand {
    /// Carries the command out.
    pub async fn run(self, door: &mut Door, output: Output) -> Result<(), Failure> {
        let Self::Revoke { subject, except, reason } = self;
        let given = [("except", &except), ("reason", &reason)];
        let query: Vec<String> = given
            .into_iter()
            .filter_map(|(name, value)| Some(format!("{name}={}", encoded(value.as_deref()?))))
            .collect();
        let path = format!("/v1/subjects/{}/sessions?{}", encoded(&subject), query.join("&"));
        let answer = door.call(Method::DELETE, &path, None).await?;
        match output {
            Output::Json => print_json(&answer),
            Output::Human => {
                let sessions = if answer["ended"] == 1 { "session" } else { "sessions" };
                let but = except.map(|id| format!(", all but {id}")).unwrap_or_default();
                print_lines(&[format!("ended {} {sessions} of {subject}{but}", answer["ended"])])
            }
        }
    }
}
