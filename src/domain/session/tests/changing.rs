//! Changing a session, and adding to it.

use super::*;
use crate::domain::access::Claims;
use crate::domain::refusal::Refusal;

fn claims(text: &str) -> Option<Option<Claims>> {
    Some(Some(Claims(text.into())))
}

/// What a change made: the events, the version, and the version of the claims.
fn changed(session: &mut Session, changes: &Changes) -> (Vec<&'static str>, u32, u32) {
    let events = session.change(changes, "app", at(1), &uncut()).unwrap();
    (events.iter().map(|event| event.kind.as_str()).collect(), session.version, session.claims_version)
}

#[test]
fn a_change_is_one_version_and_one_event_and_what_differs_in_nothing_is_none() {
    let mut session = session();
    let updated = vec!["session.updated"];
    assert_eq!(changed(&mut session, &Changes::default()), (vec![], 1, 1));
    let team = Changes { claims: claims("{}"), label: Some(Some("phone".into())), data: true };
    assert_eq!(changed(&mut session, &team), (updated.clone(), 2, 2));
    assert_eq!(session.claims, Some(Claims("{}".into())));
    assert_eq!(session.device.label.as_deref(), Some("phone"));
    let same = Changes { data: false, ..team };
    assert_eq!(changed(&mut session, &same), (vec![], 2, 2));
    let data = Changes { data: true, ..Changes::default() };
    assert_eq!(changed(&mut session, &data), (updated.clone(), 3, 2));
    let unlabelled = Changes { label: Some(None), ..Changes::default() };
    assert_eq!(changed(&mut session, &unlabelled), (updated.clone(), 4, 2));
    assert_eq!((&session.device.label, session.claims.is_some()), (&None, true));
    let bare = Changes { claims: Some(None), ..Changes::default() };
    assert_eq!(changed(&mut session, &bare), (updated, 5, 3));
    assert_eq!(session.claims, None);
}

#[test]
fn what_is_not_active_is_not_changed_and_gets_no_family() {
    let mut session = session();
    let changes = Changes { claims: claims("{}"), ..Changes::default() };
    let refused = session.change(&changes, "app", at(IDLE), &uncut()).unwrap_err();
    assert_eq!((refused.refusal, session.version), (Refusal::Conflict, 1));
    let refused = session.open_family(family("mobile"), "app", at(IDLE), &uncut()).unwrap_err();
    assert_eq!((refused.refusal, session.families.len()), (Refusal::Conflict, 1));
}

/// The event of a family names its client, and is issued at the position that follows the last event.
#[test]
fn a_further_family_is_issued_at_the_next_event() {
    let mut session = session();
    let (number, event) = session.open_family(family("mobile"), "app", at(1), &uncut()).unwrap();
    assert_eq!((number, session.families[1].issued), (2, uncut().head.next()));
    assert_eq!(
        (event.kind.as_str(), event.family, event.client),
        ("family.opened", Some(2), Some(client("mobile")))
    );
}

#[test]
fn a_device_has_texts_of_limited_length_and_a_refusal_names_the_field() {
    let text = |bytes| Some("x".repeat(bytes).into());
    let longest = Device { user_agent: text(1024), ip: text(256), label: text(256) };
    assert!(longest.clone().checked().is_ok_and(|checked| checked == longest));
    for (field, device) in [
        ("device.user_agent", Device { user_agent: text(1025), ..Device::default() }),
        ("device.ip", Device { ip: text(257), ..Device::default() }),
        ("device.label", Device { label: text(257), ..Device::default() }),
    ] {
        assert_eq!(device.checked().unwrap_err().refusal, Refusal::Invalid { field });
    }
}
