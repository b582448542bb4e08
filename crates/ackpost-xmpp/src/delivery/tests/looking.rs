//! Messages that may have arrived: archives and histories that are read only in part, and clocks that differ.

use super::*;

const MINUTE: Duration = Duration::from_secs(60);

/// A message that may have been written since so long ago.
fn repeat(target: Target, since: SystemTime) -> Outgoing {
    let mut message = outgoing(target, "x1", "hello");
    message.repeat_since = Some(since);
    message
}

fn before(age: Duration) -> SystemTime {
    SystemTime::now() - age
}

fn stamp(time: SystemTime) -> String {
    stamp_before(time, Duration::ZERO)
}

/// A message in an archive.
fn archived(tracker: &mut DeliveryTracker, written: &str, archive: &str, at: SystemTime, message: &str) {
    let from = written.rfind("queryid='").unwrap() + "queryid='".len();
    let query = written[from..].split('\'').next().unwrap();
    hear(
        tracker,
        &format!(
            "<message from='{archive}'><result xmlns='{}' queryid='{query}' id='1'><forwarded xmlns='{}'>\
             <delay xmlns='{}' stamp='{}'/>{message}</forwarded></result></message>",
            ns::MAM,
            ns::FORWARD,
            ns::DELAY,
            stamp(at)
        ),
    );
}

const OTHER: &str = "<message xmlns='jabber:client' from='alice@localhost/x' to='bob@localhost' id='o'><body>o</body></message>";

/// The end of a page behind which more follows, or of the last one.
fn page(tracker: &mut DeliveryTracker, written: &str, archive: &str, complete: bool) {
    let fin = format!(
        "<fin xmlns='{}' complete='{complete}'><set xmlns='{}'><first>1</first></set></fin>",
        ns::MAM,
        ns::RSM
    );
    answer(tracker, written, ns::MAM, archive, &fin);
}

fn no_archive(tracker: &mut DeliveryTracker, written: &str, archive: &str) {
    let id = question(written, ns::MAM);
    hear(
        tracker,
        &format!(
            "<iq type='error' id='{id}' from='{archive}'><error type='cancel'><service-unavailable \
             xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>"
        ),
    );
}

/// The server has been up for a day.
fn up(tracker: &mut DeliveryTracker) -> String {
    let written = write(tracker);
    let inside = format!("<query xmlns='{}' seconds='86400'/>", ns::LAST);
    answer(tracker, &written, ns::LAST, "localhost", &inside);
    write(tracker)
}

/// Returns true if the message was written again because it is missing, not in doubt.
fn known_to_be_missing(tracker: &DeliveryTracker, written: &str) -> bool {
    assert!(written.contains("<message "), "it is sent again: {written}");
    !tracker.jobs[&1].doubtful
}

/// More messages came since than are read.
#[test]
fn a_message_behind_the_last_page_that_is_read_is_not_missing() {
    let mut tracker = one_shot();
    add(
        &mut tracker,
        1,
        &repeat(person("bob@localhost"), before(MINUTE * 10)),
    );
    for _ in 0..10 {
        let written = write(&mut tracker);
        archived(&mut tracker, &written, "alice@localhost", before(MINUTE), OTHER);
        page(&mut tracker, &written, "alice@localhost", false);
    }
    let written = up(&mut tracker);
    assert!(!known_to_be_missing(&tracker, &written));
}

#[test]
fn an_archive_is_read_back_to_the_message_and_no_further() {
    let mut tracker = one_shot();
    add(
        &mut tracker,
        1,
        &repeat(person("bob@localhost"), before(MINUTE * 10)),
    );
    for minutes in [1, 20] {
        let written = write(&mut tracker);
        archived(
            &mut tracker,
            &written,
            "alice@localhost",
            before(MINUTE * minutes),
            OTHER,
        );
        page(&mut tracker, &written, "alice@localhost", false);
    }
    let written = up(&mut tracker);
    assert!(known_to_be_missing(&tracker, &written));
}

/// Our clock is an hour ahead of the server's, and so the server stored the message an hour before we wrote it.
#[test]
fn a_clock_that_is_ahead_hides_no_message() {
    let mut tracker = one_shot();
    add(&mut tracker, 1, &repeat(person("bob@localhost"), before(MINUTE)));
    let written = write(&mut tracker);
    assert!(!written.contains("'start'"), "no time of our clock: {written}");
    let ours = OTHER.replace("id='o'", "id='x1'");
    archived(
        &mut tracker,
        &written,
        "alice@localhost",
        before(MINUTE * 61),
        &ours,
    );
    page(&mut tracker, &written, "alice@localhost", true);
    up(&mut tracker);
    let outcome = ended(&mut tracker);
    assert_eq!(outcome.delivered().unwrap().notes, [Note::FoundInArchive]);
}

/// The message has a time in the future, because the clock was set back since. Any message in the archive is older.
#[test]
fn a_time_in_the_future_ends_no_look() {
    let mut tracker = one_shot();
    let future = SystemTime::now() + MINUTE * 120;
    add(&mut tracker, 1, &repeat(person("bob@localhost"), future));
    let written = write(&mut tracker);
    archived(
        &mut tracker,
        &written,
        "alice@localhost",
        before(MINUTE * 20),
        OTHER,
    );
    page(&mut tracker, &written, "alice@localhost", false);
    let written = write(&mut tracker);
    assert!(written.contains(ns::MAM), "the next page is read: {written}");
}

fn in_history(tracker: &mut DeliveryTracker, nick: &str, at: SystemTime, attributes: &str, inside: &str) {
    hear(
        tracker,
        &format!(
            "<message type='groupchat' from='{ROOM}/{nick}' {attributes}>{inside}<delay xmlns='{}' from='{ROOM}' \
             stamp='{}'/></message>",
            ns::DELAY,
            stamp(at)
        ),
    );
}

fn subject(tracker: &mut DeliveryTracker) {
    hear(
        tracker,
        &format!("<message type='groupchat' from='{ROOM}'><subject/></message>"),
    );
}

/// A room without archive shows its last messages. They prove something only if they reach back far enough.
#[test]
fn a_history_that_does_not_reach_back_proves_nothing() {
    for (minutes, missing) in [(1, false), (30, true)] {
        for kept_session in [false, true] {
            let mut tracker = if kept_session { kept() } else { one_shot() };
            add(&mut tracker, 1, &repeat(room(), before(MINUTE * 10)));
            let written = write(&mut tracker);
            assert_eq!(written.contains(" since='"), kept_session, "{written}");
            enter(&mut tracker);
            in_history(
                &mut tracker,
                "bob",
                before(MINUTE * minutes),
                "id='o'",
                "<body>o</body>",
            );
            subject(&mut tracker);
            let written = write(&mut tracker);
            no_archive(&mut tracker, &written, ROOM);
            let written = up(&mut tracker);
            assert_eq!(known_to_be_missing(&tracker, &written), missing, "{minutes}");
        }
    }
}

/// The address of a file and the form of an encrypted text differ from attempt to attempt. The id of a message by an author
/// whom the room proves to be us does not.
#[test]
fn our_own_message_is_recognised_by_its_id_where_the_room_proves_its_author() {
    let own = format!("<occupant-id xmlns='{}' id='me'/>", ns::OCCUPANT_ID);
    let other = format!("<occupant-id xmlns='{}' id='other'/>", ns::OCCUPANT_ID);
    for (occupant, found) in [(&own, true), (&other, false)] {
        for archive in [false, true] {
            let mut tracker = one_shot();
            add(&mut tracker, 1, &repeat(room(), before(MINUTE)));
            write(&mut tracker);
            hear(
                &mut tracker,
                &format!(
                    "<presence from='{ROOM}/alice'>{own}<x xmlns='{}'><item affiliation='member' role='participant'/>\
                     <status code='110'/></x></presence>",
                    ns::MUC_USER
                ),
            );
            let inside = format!("<body>https://localhost/another-address</body>{occupant}");
            if !archive {
                in_history(&mut tracker, "alice", before(MINUTE), "id='x1'", &inside);
            }
            subject(&mut tracker);
            if archive {
                let written = write(&mut tracker);
                let message = format!(
                    "<message xmlns='jabber:client' type='groupchat' from='{ROOM}/alice' id='x1'>{inside}</message>"
                );
                archived(&mut tracker, &written, ROOM, before(MINUTE), &message);
            }
            let settled = tracker.take_settled();
            assert_eq!(settled.len(), usize::from(found), "{archive}: {settled:?}");
        }
    }
}

#[test]
fn a_message_with_a_subject_is_recognised_in_the_history() {
    let mut tracker = one_shot();
    let mut message = repeat(room(), before(MINUTE));
    let mut content = Content::text("hello");
    content.subject = Some("news".to_owned());
    message.content = content.into();
    add(&mut tracker, 1, &message);
    write(&mut tracker);
    enter(&mut tracker);
    in_history(
        &mut tracker,
        "alice",
        before(MINUTE),
        "id='x1'",
        "<subject>news</subject><body>hello</body>",
    );
    assert!(ended(&mut tracker).delivered().is_some());
}

/// ejabberd keeps changes of the subject in the history.
#[test]
fn a_change_of_the_subject_inside_the_history_does_not_end_it() {
    let mut tracker = one_shot();
    add(&mut tracker, 1, &repeat(room(), before(MINUTE)));
    write(&mut tracker);
    enter(&mut tracker);
    in_history(
        &mut tracker,
        "bob",
        before(MINUTE * 2),
        "",
        "<subject>old</subject>",
    );
    let written = write(&mut tracker);
    assert!(!written.contains(ns::MAM), "the history is not over: {written}");
    in_history(
        &mut tracker,
        "alice",
        before(MINUTE),
        "id='x1'",
        "<body>hello</body>",
    );
    assert!(ended(&mut tracker).delivered().is_some());

    // A room whose last word is such a subject: its answer to a question ends the history.
    let mut tracker = one_shot();
    add(&mut tracker, 1, &repeat(room(), before(MINUTE)));
    write(&mut tracker);
    enter(&mut tracker);
    in_history(
        &mut tracker,
        "bob",
        before(MINUTE * 2),
        "",
        "<subject>old</subject>",
    );
    let written = write(&mut tracker);
    answer(&mut tracker, &written, ns::DISCO_INFO, ROOM, "");
    assert!(write(&mut tracker).contains(ns::MAM), "the archive comes next");
}

/// The clock was set back between the writing of a message and the look for it.
#[test]
fn the_age_of_a_message_does_not_depend_on_the_date_alone() {
    let mut tracker = kept();
    add(&mut tracker, 1, &outgoing(person("bob@localhost"), "x1", "hello"));
    write(&mut tracker);
    let job = tracker.jobs.get_mut(&1).unwrap();
    job.taken = job.taken.map(|taken| taken - MINUTE);
    tracker.cut(Instant::now(), Ending::Cut);
    tracker.start_over();
    let written = write(&mut tracker);
    page(&mut tracker, &written, "alice@localhost", true);
    // By the date, the message is younger than the server; it was written a minute before.
    let written = write(&mut tracker);
    let inside = format!("<query xmlns='{}' seconds='30'/>", ns::LAST);
    answer(&mut tracker, &written, ns::LAST, "localhost", &inside);
    let outcome = ended(&mut tracker);
    assert!(
        matches!(
            outcome.error(),
            Some(XmppError::InDoubt {
                why: Doubt::Forgotten,
                ..
            })
        ),
        "{outcome}"
    );
}
