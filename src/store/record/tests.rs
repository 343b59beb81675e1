//! The bytes of records: fixed, sealed where they must be, and never trusted.

use std::time::Duration;

use super::*;
use crate::domain::access::{Authentication, Claims, TokenFormat};
use crate::domain::client::{ClientKind, ClientSecret, Grant, Permission};
use crate::domain::end::{End, EndReason};
use crate::domain::event::{Event, EventKind};
use crate::domain::family::{Family, Reading, Stamp};
use crate::domain::id::{Hash, KeyId, Position, Salt, TokenId};
use crate::domain::key::KeyStatus;
use crate::domain::session::{Device, Revocation, RevokedToken, Session};

fn codec() -> Codec {
    Codec::new(&Keys::derive(&SecretKey::new([7; 32])))
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_seconds(1_800_000_000 + seconds)
}

fn window() -> RetryWindow {
    RetryWindow {
        salt: Salt([0x5a; 32]),
        opened: Reading { wall: at(60), boot: 77, elapsed_ms: 61_000 },
        length: Duration::from_secs(10),
        retries: 3,
        stamp: Stamp {
            issued_at: 60,
            expires_at: 360,
            key: KeyId::Ed25519([3; 33]),
            format: TokenFormat::Jwt,
            claims_version: 2,
        },
        kept: false,
        late: true,
        after_late: true,
    }
}

/// Every member has a value that no other could be mistaken for.
fn session() -> Session {
    let authentication =
        Authentication { at: at(-5), acr: Some("aal2".into()), amr: vec!["pwd".into(), "otp".into()] };
    let end =
        |seconds, by: &str| Some(End { at: at(seconds), reason: EndReason::SubjectRevoked, by: by.into() });
    let own = Family {
        number: 4,
        client_id: "app".parse().unwrap(),
        scope: "read write".parse().unwrap(),
        audience: "https://api".into(),
        authentication: authentication.clone(),
        issued: Position(1_000),
        end: None,
        generation: 5,
        current: Hash([0xc1; 32]),
        previous: Some(Hash([0xc0; 32])),
        refreshed_at: at(60),
        window: Some(window()),
    };
    let other = Family {
        number: 6,
        client_id: "mobile".parse().unwrap(),
        scope: "read".parse().unwrap(),
        audience: "https://other".into(),
        authentication: Authentication { at: at(-50), acr: None, amr: vec![] },
        issued: Position(1_007),
        end: end(70, "app"),
        generation: 0,
        previous: None,
        window: None,
        ..own.clone()
    };
    Session {
        id: SessionId([0xee; 16]),
        subject: "alice".parse().unwrap(),
        client_id: "app".parse().unwrap(),
        opened_by: "bff".into(),
        issued: Position(1_000),
        created_at: at(0),
        authentication,
        last_used_at: at(60),
        idle_timeout: Duration::from_millis(1_800_250),
        expires_at: at(86_400),
        remember: true,
        scope: "read write".parse().unwrap(),
        audience: "https://api".into(),
        renewals: 8,
        token: Hash([0xab; 32]),
        device: Device { user_agent: Some("Lynx".into()), ip: None, label: Some("den".into()) },
        claims: Some(Claims(r#"{"a":1}"#.into())),
        version: 9,
        claims_version: 2,
        families: vec![own, other],
        next_family: 7,
        own_family: Some(4),
        revoked_tokens: vec![Revocation {
            token: RevokedToken { id: TokenId([0x1d; 16]), expires_at: 360 },
            family: Some(4),
        }],
        revoked_until: 350,
        end: end(80, "root"),
        expiry_reported: true,
    }
}

fn event() -> Event {
    let mut event = session().event(EventKind::SessionEnded, at(3), "keyfob");
    event.family = Some(4);
    event.reason = Some(EndReason::StoreRollback);
    event.token = Some(TokenId([0x1d; 16]));
    event.key = Some(KeyId::Ed25519([3; 33]));
    event.generations_behind = Some(2);
    event.address = Some([4; 16]);
    event.note = Some("lost laptop".into());
    event
}

#[test]
fn events_of_older_versions_are_read_and_those_of_version_1_have_no_reach() {
    let older = Event { kind: EventKind::RefreshReused, ..event() };
    assert_eq!(codec().decode_event(1_000, &golden_v1("event of version 2")), Ok(older.clone()));
    assert_eq!(event_time(&golden_v1("event")), Ok(at(3)));
    assert_eq!(codec().decode_event(1_000, &golden_v1("event")), Ok(Event { reach: None, ..older }));
}

#[test]
fn an_event_reads_as_it_was_written_whatever_is_absent() {
    let bare = Event::new(EventKind::AllRevoked, at(3), "admin.sock");
    let opened = session().event(EventKind::SessionOpened, at(3), "app");
    assert_eq!(opened.reach, None, "the feed does not show it");
    for event in [bare, opened] {
        let bytes = codec().encode_event(7, &event);
        assert_eq!((codec().decode_event(7, &bytes), event_time(&bytes)), (Ok(event), Ok(at(3))));
        assert!(bytes.len() < 64, "{}", bytes.len());
    }
}

fn client() -> Client {
    Client {
        id: "app".parse().unwrap(),
        kind: ClientKind::Confidential,
        permissions: vec![Permission::Sessions, Permission::IntrospectAny],
        grants: vec![Grant::ClientCredentials],
        scopes: "read write".parse().unwrap(),
        audiences: vec!["https://api".into()],
        serves: vec!["https://api".into()],
        opens_for: vec!["mobile".parse().unwrap()],
        policy: "default".into(),
        access_token_format: TokenFormat::Jwt,
        disabled: true,
        declared: false,
        secrets: vec![ClientSecret { hash: Hash([9; 32]), until: Some(at(9)) }],
        created_at: at(1),
        updated_at: at(2),
        incarnation: Position(1_001),
        tokens_from: Position(1_002),
    }
}

fn keys() -> Vec<KeyRecord> {
    vec![KeyRecord {
        id: KeyId::Ed25519([3; 33]),
        status: KeyStatus::Retired,
        public: [8; 32].into(),
        sealed_seed: vec![6; 48],
        created_at: at(1),
        active_since: Some(at(2)),
        retired_at: Some(at(3)),
    }]
}

/// Keys of Ed25519 and of P-256.
fn both_algorithms() -> Vec<KeyRecord> {
    let p256 = KeyRecord {
        id: KeyId::P256([4; 32]),
        public: std::array::from_fn::<u8, 64, _>(|at| at as u8).into(),
        ..keys().remove(0)
    };
    [keys(), vec![p256], keys()].concat()
}

fn cut_off() -> CutOff {
    CutOff { position: Position(1_000), at: at(4), by: "root".into() }
}

fn epochs() -> Epochs {
    let mut epochs = Epochs::default();
    epochs.begin(Position(1_000), Position(1), None, at(5), 0x0100_0000);
    epochs
}

#[test]
fn a_session_reads_as_it_was_written_apart_from_its_windows() {
    let record =
        codec().decode_session(session().id, &codec().encode_session(&session(), at(99), None)).unwrap();
    let mut expected = session();
    expected.families[0].window = None;
    assert_eq!(record.session, expected);
    assert_eq!(record.slot, at(99));
    assert_eq!(record.windows, [WindowRef { family: 4, closes_at: at(70) }]);
    assert!(record.sealed.is_some());
    let again = codec().encode_session(&session(), at(99), record.sealed.as_deref());
    assert_eq!(again, codec().encode_session(&session(), at(99), None), "sealing is deterministic");
}

#[test]
fn the_other_records_read_as_they_were_written() {
    let (codec, key) = (codec(), window_key(at(70), session().id, 4));
    assert_eq!(codec.decode_window(&key, &codec.encode_window(&key, &window())), Ok(window()));
    assert_eq!(codec.decode_event(1_000, &codec.encode_event(1_000, &event())), Ok(event()));
    assert_eq!(event_time(&codec.encode_event(1_000, &event())), Ok(at(3)));
    assert_eq!(decode_client("app", &encode_client(&client()), Position(7)), Ok(client()));
    assert_eq!(decode_cut_off("", &encode_cut_off("", &cut_off())), Ok(cut_off()));
    assert_eq!(decode_keys(&encode_keys(&keys())), Ok(keys()));
    assert_eq!(decode_keys(&encode_keys(&both_algorithms())), Ok(both_algorithms()));
    assert_eq!(decode_epochs(&encode_epochs(&epochs())), Ok(epochs()));
    let data = Data(r#"{"cart":[]}"#.into());
    assert_eq!(codec.decode_data(session().id, &codec.encode_data(session().id, &data)), Ok(data));
}

/// Existing stores contain these bytes. A change needs a new version, and code that reads both.
#[test]
fn the_bytes_of_every_record_are_fixed() {
    let (codec, key) = (codec(), window_key(at(70), session().id, 4));
    let records = [
        ("session", codec.encode_session(&session(), at(99), None)),
        ("window", codec.encode_window(&key, &window())),
        ("event", codec.encode_event(1_000, &event())),
        ("data", codec.encode_data(session().id, &Data("{}".into()))),
        ("client", encode_client(&client())),
        ("cut_off", encode_cut_off("app", &cut_off())),
        ("keys", encode_keys(&keys())),
        ("keys of two algorithms", encode_keys(&both_algorithms())),
        ("epochs", encode_epochs(&epochs())),
        ("check", codec.key_check().to_vec()),
        ("subject", codec.subject_index(&session().subject).to_vec()),
    ];
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let written: Vec<String> = records.iter().map(|(name, bytes)| format!("{name} {}", hex(bytes))).collect();
    let golden: Vec<&str> = include_str!("golden.txt").lines().collect();
    assert_eq!(written, golden);
}

/// A record of version 1 or of the named one, as older stores have it.
fn golden_v1(kind: &str) -> Vec<u8> {
    let golden = include_str!("golden_v1.txt");
    let line =
        golden.lines().find_map(|line| line.rsplit_once(' ').filter(|(name, _)| *name == kind)).unwrap().1;
    (0..line.len()).step_by(2).map(|at| u8::from_str_radix(&line[at..at + 2], 16).unwrap()).collect()
}

#[test]
fn a_session_of_version_1_reads_with_revocations_of_unknown_families() {
    let record = codec().decode_session(session().id, &golden_v1("session")).unwrap();
    let mut expected = session();
    expected.families[0].window = None;
    expected.revoked_tokens[0].family = None;
    expected.revoked_until = 0;
    assert_eq!((record.session, record.slot), (expected, at(99)));
}

#[test]
fn a_session_reads_as_it_was_written_whatever_is_usual_in_it() {
    let codec = codec();
    let mut session = session();
    session.id = SessionId::new(session.created_at, &[7; 10]);
    session.device.ip = Some("2001:DB8::1".into());
    for step in 0..8 {
        match step {
            1 => (session.renewals, session.version, session.claims_version) = (0, 1, 1),
            2 => (session.revoked_tokens, session.revoked_until, session.end) = (vec![], 0, None),
            3 => session.families.truncate(1),
            4 => (session.families[0].number, session.next_family, session.own_family) = (1, 2, Some(1)),
            5 => (session.opened_by, session.device.ip) = ("app".into(), Some("192.0.2.7".into())),
            6 => session.families[0].window.as_mut().unwrap().kept = true,
            7 => session.device.ip = Some("2001:db8::1".into()),
            _ => {}
        }
        let record = codec.decode_session(session.id, &codec.encode_session(&session, at(99), None)).unwrap();
        let closes_at = session.families[0].window.as_ref().unwrap().erased_at();
        assert_eq!(record.windows, [WindowRef { family: session.families[0].number, closes_at }]);
        let mut expected = session.clone();
        expected.families.iter_mut().for_each(|family| family.window = None);
        assert_eq!(record.session, expected, "{step}");
    }
    // Each of the two without the other.
    for (revoked_tokens, revoked_until) in [(vec![], 7), (self::session().revoked_tokens, 0)] {
        (session.revoked_tokens, session.revoked_until) = (revoked_tokens, revoked_until);
        let record = codec.decode_session(session.id, &codec.encode_session(&session, at(99), None)).unwrap();
        assert_eq!(record.session.revoked_tokens, session.revoked_tokens);
        assert_eq!(record.session.revoked_until, session.revoked_until);
    }
    session.revoked_tokens.clear();
    let usual = codec.encode_session(&session, at(99), None).len();
    session.next_family = 3;
    let with_numbers = codec.encode_session(&session, at(99), None).len();
    // The next number, the own family, how many there are, and the number of the one.
    assert_eq!(with_numbers, usual + 5);
    let mut with_address = |address: &str| {
        session.device.ip = Some(address.into());
        codec.encode_session(&session, at(99), None).len()
    };
    // Four bytes, or a length and ten characters.
    assert_eq!(with_address("192.0.2.7?"), with_address("192.0.2.77") + 7);
}

#[test]
fn a_session_of_version_2_reads_as_it_was_written() {
    let record = codec().decode_session(session().id, &golden_v1("session of version 2")).unwrap();
    assert_eq!(record.sealed, None, "it has another form now");
    let mut expected = session();
    expected.families[0].window = None;
    assert_eq!((record.session, record.slot), (expected, at(99)));
}

/// A refresh replaces a record by one of nearly the same length, or each page of sessions would split.
#[test]
fn the_first_refresh_adds_at_most_four_bytes_to_a_record() {
    let codec = codec();
    let mut session = session();
    session.families.truncate(1);
    let refreshed = codec.encode_session(&session, at(99), None).len();
    session.families[0] =
        Family { generation: 0, previous: None, window: None, ..session.families[0].clone() };
    (session.last_used_at, session.families[0].refreshed_at) = (session.created_at, session.created_at);
    let opened = codec.encode_session(&session, at(99), None).len();
    assert!((opened..=opened + 4).contains(&refreshed), "{opened} {refreshed}");
}

#[test]
fn a_client_without_an_incarnation_gets_the_last_deletion_of_its_name() {
    let bytes = golden_v1("client");
    let expected = Client { incarnation: Position(7), tokens_from: Position(0), ..client() };
    assert_eq!(decode_client("app", &bytes, Position(7)), Ok(expected));
}

/// Version 2 has the incarnation and nothing after it.
#[test]
fn a_client_of_version_2_never_ended_its_own_tokens() {
    let bytes = golden_v1("client of version 2");
    let expected = Client { tokens_from: Position(0), ..client() };
    assert_eq!(decode_client("app", &bytes, Position(7)), Ok(expected));
}

#[test]
fn a_window_of_version_1_is_not_kept() {
    let read = codec().decode_window(&window_key(at(70), session().id, 4), &golden_v1("window"));
    assert_eq!(read, Ok(RetryWindow { late: false, after_late: false, ..window() }));
}

/// Whatever decays, wherever: it is noticed, and nothing panics.
#[test]
fn a_changed_or_shortened_record_is_a_fault() {
    let (codec, key) = (codec(), window_key(at(70), session().id, 4));
    let id = session().id;
    type Read<'a> = Box<dyn Fn(&[u8]) -> bool + 'a>;
    let records: [(Vec<u8>, Read); 6] = [
        (
            codec.encode_session(&session(), at(99), None),
            Box::new(|bytes| codec.decode_session(id, bytes).is_err()),
        ),
        (codec.encode_window(&key, &window()), Box::new(|bytes| codec.decode_window(&key, bytes).is_err())),
        (codec.encode_event(7, &event()), Box::new(|bytes| codec.decode_event(7, bytes).is_err())),
        (codec.encode_data(id, &Data("{}".into())), Box::new(|bytes| codec.decode_data(id, bytes).is_err())),
        (encode_client(&client()), Box::new(|bytes| decode_client("app", bytes, Position(0)).is_err())),
        (encode_keys(&keys()), Box::new(|bytes| decode_keys(bytes).is_err())),
    ];
    for (n, (record, is_fault)) in records.iter().enumerate() {
        assert!(!is_fault(record), "{n}");
        for length in 0..record.len() {
            assert!(is_fault(&record[..length]), "{n} cut to {length}");
        }
        assert!(is_fault(&[record, &[0][..]].concat()), "{n} with a byte more");
        for bit in 0..record.len() * 8 {
            let mut changed = record.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(is_fault(&changed), "{n} with bit {bit} changed");
        }
    }
}

/// The checksum keeps decay out, not people: what passes it is still only read, never believed.
#[test]
fn bytes_that_pass_the_checksum_still_never_panic() {
    let codec = codec();
    let id = session().id;
    let name = name("sessions", &id.0);
    let record = codec.encode_session(&session(), at(99), None);
    let (version, body) = unframe_up_to(u8::MAX, &name, &record).unwrap();
    for byte in 0..body.len() {
        for value in [0, 1, 0x7f, 0x80, 0xff] {
            let mut changed = body.to_vec();
            changed[byte] = value;
            if let Ok(read) = codec.decode_session(id, &frame_as(version, &name, &changed)) {
                let _ = (read.session.deadline().to_string(), format!("{read:?}"));
            }
        }
    }
}

#[test]
fn a_record_is_bound_to_its_place_and_its_master_key() {
    let (codec, id, elsewhere) = (codec(), session().id, SessionId([0xed; 16]));
    let record = codec.encode_session(&session(), at(99), None);
    assert_eq!(codec.decode_session(elsewhere, &record).unwrap_err(), "its checksum is wrong");
    let other = Codec::new(&Keys::derive(&SecretKey::new([8; 32])));
    assert_eq!(
        other.decode_session(id, &record).unwrap_err(),
        "its sealed part cannot be opened under its key and the master key"
    );
    assert_ne!(other.key_check(), codec.key_check());
    assert_ne!(other.subject_index(&session().subject), codec.subject_index(&session().subject));
    assert!(codec.decode_event(8, &codec.encode_event(7, &event())).is_err());
    assert!(decode_cut_off("other", &encode_cut_off("app", &cut_off())).is_err());
    let newer = [&[4][..], &record[1..]].concat();
    assert_eq!(codec.decode_session(id, &newer).unwrap_err(), "of an unknown version");
}

#[test]
fn window_keys_sort_by_their_closing() {
    let early = window_key(at(1), SessionId([0xff; 16]), u16::MAX);
    let late = window_key(at(2), SessionId([0; 16]), 0);
    assert!(early < late);
    assert!(ordered(i64::MIN) == ordered(0) && ordered(1) < ordered(256));
}

#[test]
fn what_is_personal_is_not_in_the_bytes() {
    let record = codec().encode_session(&session(), at(99), None);
    let shows = |text: &[u8]| record.windows(text.len()).any(|window| window == text);
    assert!(shows(b"mobile"));
    for hidden in [&b"alice"[..], b"Lynx", b"den", br#"{"a":1}"#, &[0x5a; 32]] {
        assert!(!shows(hidden));
    }
}

#[test]
fn a_record_of_no_bytes_and_one_of_a_later_version_are_told_apart() {
    assert_eq!(decode_keys(b"").unwrap_err(), "empty");
    assert_eq!(decode_keys(&[0xff; 40]).unwrap_err(), "of an unknown version");
}
