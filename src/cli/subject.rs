//! `keyfob subject …`: all sessions of one subject.

use clap::Subcommand;
use clap::builder::NonEmptyStringValueParser;
use http::Method;

use super::{AdminClient, Failure, Output, pairs, print_result};
use crate::http::api::subjects::EndedCount;

/// Commands for subjects.
#[derive(Debug, Subcommand)]
pub enum SubjectCommand {
    /// Ends all sessions of a subject: "log out everywhere".
    Revoke {
        /// The subject.
        #[arg(value_parser = NonEmptyStringValueParser::new())]
        subject: String,
        /// The session to keep: "log out everywhere else".
        #[arg(long, value_name = "ID")]
        except: Option<String>,
        /// A reason in your own words; kept in the event log.
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
    },
}

impl SubjectCommand {
    /// Runs the command.
    pub async fn run(self, admin: &mut AdminClient, output: Output) -> Result<(), Failure> {
        let Self::Revoke { subject, except, reason } = self;
        let query = pairs(&[
            ("subject", Some(&subject)),
            ("except", except.as_deref()),
            ("reason", reason.as_deref()),
        ]);
        let path = format!("/v1/sessions?{query}");
        let answer: EndedCount = admin.call(Method::DELETE, &path, None).await?;
        print_result(output, &answer, || {
            let sessions = if answer.ended == 1 { "session" } else { "sessions" };
            let but = except.map(|id| format!(", except {id}")).unwrap_or_default();
            vec![format!("ended {} {sessions} of {subject}{but}", answer.ended)]
        })
    }
}
