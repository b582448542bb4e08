//! Any bytes as a server's answer to any call.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sogs_client::calls::{self, DirectBox};
use sogs_client::{Batch, Call, ListOptions, RoomToken};

fn read<T: 'static>(call: Call<T>, status: u16, data: &[u8]) {
    let headers = vec![("content-type".to_owned(), "application/json".to_owned())];
    if let Err(error) = call.read(status, headers, data.to_vec()) {
        let _ = (error.to_string(), error.remedy(), error.is_permanent());
    }
}

fuzz_target!(|data: &[u8]| {
    let Some((&first, data)) = data.split_first() else { return };
    let status = [200, 201, 304, 400, 401, 403, 412, 425, 429, 500][usize::from(first) % 10];
    let room = RoomToken::new("room").unwrap();
    let options = ListOptions::default();
    read(calls::capabilities(), status, data);
    read(calls::capabilities_required(&["x"]), status, data);
    read(calls::rooms(), status, data);
    read(calls::poll_info(&room, 0), status, data);
    read(calls::recent(&room, options), status, data);
    read(calls::since(&room, 0, options), status, data);
    read(calls::message(&room, 1), status, data);
    read(calls::unpin_all(&room), status, data);
    read(calls::reactors(&room, 1, "x", None), status, data);
    read(calls::download(&room, 1), status, data);
    read(calls::permissions(&room), status, data);
    read(calls::future_permissions(&room), status, data);
    read(calls::direct_messages(DirectBox::Inbox, None, None), status, data);
    for sequence in [false, true] {
        let mut batch = Batch::new();
        let tickets = [batch.add(calls::recent(&room, options)), batch.add(calls::recent(&room, options))];
        if let Ok(mut answers) = batch.read(data, sequence) {
            for ticket in tickets {
                let _ = answers.take(ticket);
            }
        }
    }
});
