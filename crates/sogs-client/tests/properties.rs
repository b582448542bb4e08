//! A call returns a value or an error in bounded time for any answer of a server.
#![expect(clippy::unwrap_used, reason = "a test")]

use proptest::prelude::*;
use serde_json::{Value, json};
use sogs_client::calls::{self, DirectBox};
use sogs_client::poll::Cursor;
use sogs_client::types::RawRow;
use sogs_client::{Batch, Call, ListOptions, Message, RoomToken, Row};

const STATUSES: [u16; 14] = [
    200, 201, 204, 304, 307, 400, 401, 403, 404, 412, 425, 429, 500, 999,
];

fn read<T: 'static>(call: Call<T>, status: u16, header: &(String, String), body: &[u8]) {
    let headers = vec![
        ("Content-Type".to_owned(), "application/json".to_owned()),
        header.clone(),
    ];
    if let Err(error) = call.read(status, headers, body.to_vec()) {
        // Error texts and delays are bounded too, and each text is one line.
        let text = error.to_string();
        assert!(text.len() < 2_000 && !text.contains('\n'), "{text}");
        assert!(!error.remedy().is_empty());
        let wait = error.retry_after().unwrap_or_default();
        assert!(wait.as_secs() <= 86_400);
    }
}

/// Reads `body` as the answer to every kind of call there is.
fn read_all(status: u16, header: &(String, String), body: &[u8]) {
    let room = RoomToken::new("room").unwrap();
    let options = ListOptions::default();
    let me = sogs_client::Identity::from_seed([1; 32]);
    let user = me.session_id();
    let server = sogs_client::ServerKey::from_bytes([9; 32]);
    let signer = sogs_client::Signer::blind15(&me, &server);
    let post = sogs_client::Post::text("x").prepare(&signer, 1).unwrap();
    read(calls::capabilities(), status, header, body);
    read(calls::capabilities_required(&["x"]), status, header, body);
    read(calls::rooms(), status, header, body);
    read(calls::room(&room), status, header, body);
    read(calls::poll_info(&room, 0), status, header, body);
    read(calls::recent(&room, options), status, header, body);
    read(calls::since(&room, 0, options), status, header, body);
    read(calls::message(&room, 1), status, header, body);
    read(calls::post(&room, &post), status, header, body);
    read(calls::edit(&room, 1, &post), status, header, body);
    read(calls::delete_everywhere(&user), status, header, body);
    read(calls::pin(&room, 1), status, header, body);
    read(calls::unpin_all(&room), status, header, body);
    read(calls::react(&room, 1, "x"), status, header, body);
    read(calls::unreact(&room, 1, "x"), status, header, body);
    read(calls::clear_reactions(&room, 1, None), status, header, body);
    read(calls::reactors(&room, 1, "x", None), status, header, body);
    read(
        calls::upload(&room, Some("n"), Vec::new().into()),
        status,
        header,
        body,
    );
    read(calls::download(&room, 1), status, header, body);
    read(calls::permissions(&room), status, header, body);
    read(calls::permissions_of(&room, &user), status, header, body);
    read(calls::future_permissions(&room), status, header, body);
    read(calls::future_permissions_of(&room, &user), status, header, body);
    read(calls::send_direct(&user, b"x"), status, header, body);
    read(
        calls::direct_messages(DirectBox::Inbox, None, None),
        status,
        header,
        body,
    );
    read(calls::clear_inbox(), status, header, body);
    for sequence in [false, true] {
        let mut batch = Batch::new();
        let tickets = [
            batch.add(calls::recent(&room, options)),
            batch.add(calls::recent(&room, options)),
        ];
        if let Ok(mut answers) = batch.read(body, sequence) {
            for ticket in tickets {
                let _ = answers.take(ticket);
            }
        }
    }
}

/// JSON that has the names of the protocol in the wrong places.
fn odd_json() -> impl Strategy<Value = Value> {
    let names = prop::sample::select(vec![
        "id",
        "session_id",
        "posted",
        "seqno",
        "data",
        "signature",
        "reactions",
        "deleted",
        "whisper",
        "token",
        "name",
        "info_updates",
        "code",
        "headers",
        "body",
        "message",
        "at",
        "index",
        "count",
        "reactors",
        "you",
        "capabilities",
        "unpinned",
        "05",
    ]);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "\\PC{0,20}".prop_map(Value::from),
        "[A-Za-z0-9+/]{0,40}={0,2}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 40, 8, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::hash_map(names.clone().prop_map(str::to_owned), inner, 0..8)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

fn header() -> impl Strategy<Value = (String, String)> {
    let name = prop::sample::select(vec!["retry-after", "date", "content-disposition", "expires", "x"]);
    (name.prop_map(str::to_owned), "\\PC{0,40}|[0-9]{1,30}")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_bytes_are_read_or_refused(body in prop::collection::vec(any::<u8>(), 0..400), status in prop::sample::select(STATUSES.to_vec()), header in header()) {
        read_all(status, &header, &body);
    }

    #[test]
    fn odd_json_is_read_or_refused(body in odd_json(), status in prop::sample::select(STATUSES.to_vec()), header in header()) {
        read_all(status, &header, body.to_string().as_bytes());
        let _ = serde_json::from_value::<Cursor>(body);
    }

    #[test]
    fn rows_come_back(id in any::<u64>(), seqno in any::<i64>(), data in prop::collection::vec(any::<u8>(), 0..300), signature in prop::collection::vec(any::<u8>(), 0..80), posted in 0.0f64..4e9, whisper in any::<bool>()) {
        use session_protocol::encoding::b64;
        let author = sogs_client::Identity::from_seed([7; 32]).session_id().to_string();
        let mut value = json!({
            "id": id, "session_id": author, "posted": posted, "seqno": seqno, "data": b64(&data),
            "signature": b64(&signature), "reactions": {},
        });
        if whisper {
            value["whisper"] = true.into();
            value["whisper_mods"] = false.into();
        }
        let raw: RawRow = serde_json::from_value(value.clone()).unwrap();
        let message = Message::try_from(raw.clone()).unwrap();
        prop_assert!(!message.is_authentic(), "nobody signed it");
        prop_assert_eq!(serde_json::to_value(RawRow::from(message)).unwrap(), value.clone());
        let row = Row::try_from(raw).unwrap();
        prop_assert_eq!(serde_json::to_value(RawRow::from(row)).unwrap(), value);
    }
}
