//! Every endpoint of the real server, through the public interface, over all three ways there, on both databases.
#![expect(clippy::unwrap_used, reason = "a test")]

mod community;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use community::{Community, Database, WAYS, Way, admin, person, token};
use serde_json::json;
use session_protocol::Prefix;
use sogs_client::calls::{self, DirectBox};
use sogs_client::types::{PermissionChange, Scheduled};
use sogs_client::{Batch, Blinding, Cause, ListOptions, Post, RoleChange, RoomUpdate, Row, Scope, Upload};

/// A test over all ways, once for each database: the body sees the community and the way.
macro_rules! over_all_ways {
    ($($name:ident = |$community:ident, $way:ident| $body:block)*) => {
        $(
            async fn $name(database: Database) {
                let $community = Community::start_on(database).await;
                for $way in WAYS {
                    $body
                }
            }
        )*

        mod on_sqlite {
            $(
                #[tokio::test]
                async fn $name() {
                    super::$name(super::Database::Sqlite).await;
                }
            )*
        }

        mod on_postgresql {
            $(
                #[tokio::test]
                async fn $name() {
                    super::$name(super::Database::Postgresql).await;
                }
            )*
        }
    };
}

const ALL: ListOptions = ListOptions {
    limit: Some(256),
    reactors: Some(20),
    with_reaction_rows: true,
};

over_all_ways! {
    capabilities = |community, way| {
        let server = community.server(way, &person(way, 0));
        assert_eq!(server.is_sealed(), way != Way::Direct);
        let capabilities = server.capabilities().await.unwrap();
        assert!(capabilities.has("sogs") && capabilities.has("reactions") && capabilities.requires_blinding());
        let asked = server.run(calls::capabilities_required(&["sogs", "nope"])).await.unwrap();
        assert_eq!(asked.missing, ["nope"]);
        assert_eq!(server.my_id().await.unwrap().prefix(), Prefix::Blind15);
    }

    rooms_and_room = |community, way| {
        let server = community.server(way, &person(way, 0));
        let rooms = server.rooms().await.unwrap();
        assert_eq!(rooms.len(), 1);
        let info = server.room(&token("MAIN")).info().await.unwrap();
        assert_eq!((&info.token, info.read, info.write, info.admin), (&token("main"), true, true, false));
        let info = community.room(way, &admin()).info().await.unwrap();
        assert!(info.admin && info.global_admin && info.moderator && info.default_write == Some(true));
        let error = server.room(&token("nowhere")).info().await.unwrap_err();
        assert_eq!(error.cause(), &Cause::NotFound);
    }

    nobody_may_read_but_not_write = |community, way| {
        let server = community.builder(way).build().unwrap();
        assert_eq!(server.rooms().await.unwrap().len(), 1);
        assert_eq!(server.room(&token("main")).recent(ALL).await.unwrap().len(), 0);
        assert_eq!(server.room(&token("main")).post("x").await.unwrap_err().cause(), &Cause::NoIdentity);
    }

    poll_info = |community, way| {
        let room = community.room(way, &person(way, 0));
        let poll = room.poll_info(999_999).await.unwrap();
        let details = poll.details.unwrap();
        let poll = room.poll_info(details.info_updates).await.unwrap();
        assert!(poll.details.is_none() && poll.read);
    }

    update_room = |community, way| {
        let room = community.room(way, &admin());
        let before = room.info().await.unwrap().info_updates;
        let update = RoomUpdate {
            name: Some(format!("Room {way:?}")),
            description: Some(Some("About\nthings".to_owned())),
            ..RoomUpdate::default()
        };
        let after = room.update(&update).await.unwrap();
        assert!(after > before);
        let info = room.info().await.unwrap();
        assert_eq!((info.name.as_str(), info.description.as_deref()), (format!("Room {way:?}").as_str(), Some("About\nthings")));
        room.update(&RoomUpdate { description: Some(None), ..RoomUpdate::default() }).await.unwrap();
        assert_eq!(room.info().await.unwrap().description, None);
        room.update(&RoomUpdate { default_upload: Some(false), ..RoomUpdate::default() }).await.unwrap();
        assert!(!community.room(way, &person(way, 0)).info().await.unwrap().upload);
        room.update(&RoomUpdate { default_upload: Some(true), ..RoomUpdate::default() }).await.unwrap();
        let image = room.upload(Upload::new(b"\x89PNG\r\n\x1a\n....".to_vec()).name("i.png")).await.unwrap();
        room.update(&RoomUpdate { image: Some(image.id), ..RoomUpdate::default() }).await.unwrap();
        assert_eq!(room.info().await.unwrap().image_id, Some(image.id));
        let error = room.update(&RoomUpdate { image: Some(99_999), ..RoomUpdate::default() }).await.unwrap_err();
        assert_eq!(error.cause(), &Cause::NotAcceptable);
        assert_eq!(room.update(&RoomUpdate::default()).await.unwrap_err().cause(), &Cause::BadRequest);
        let user = community.room(way, &person(way, 0));
        assert_eq!(user.update(&update).await.unwrap_err().cause(), &Cause::Forbidden);
    }

    post_and_message = |community, way| {
        let me = person(way, 0);
        let room = community.room(way, &me);
        let posted = room.post(Post::text("Hello, SOGS! 🎂").name("Tester")).await.unwrap();
        let answer = posted.message.unwrap();
        let message = room.message(posted.id).await.unwrap();
        assert_eq!(answer.data, message.data);
        assert!(message.is_authentic());
        assert_eq!((message.body(), message.display_name()), (Some("Hello, SOGS! 🎂"), Some("Tester")));
        assert_eq!(message.author, room.server().my_id().await.unwrap());
        assert_eq!(message.data.len() % 160, 0);
        assert!(!message.content().unwrap().is_out_of_time(message.posted));

        let reply = room.post(Post::text("an answer").reply_to(&message)).await.unwrap();
        let reply = room.message(reply.id).await.unwrap();
        let quote = reply.content().unwrap().data_message.as_ref().unwrap().quote.clone().unwrap();
        assert_eq!((quote.id, quote.author), (Some(message.quote_id()), Some(message.author.to_string())));
        assert_eq!(room.message(999_999).await.unwrap_err().cause(), &Cause::NotFound);
    }

    recent_before_since = |community, way| {
        let room = community.room(way, &admin());
        let start = room.info().await.unwrap().message_sequence;
        let mut ids = Vec::new();
        for n in 0..7 {
            ids.push(room.post(format!("message {n}")).await.unwrap().id);
        }
        let recent = room.recent(ListOptions::limit(3)).await.unwrap();
        assert_eq!(recent.iter().map(|m| m.id).collect::<Vec<_>>(), [ids[6], ids[5], ids[4]]);
        let before = room.before(ids[4], ListOptions::limit(2)).await.unwrap();
        assert_eq!(before.iter().map(|m| m.id).collect::<Vec<_>>(), [ids[3], ids[2]]);
        let since = room.since(start, ALL).await.unwrap();
        assert_eq!(since.iter().map(Row::id).collect::<Vec<_>>(), ids);
        assert!(since.windows(2).all(|w| w[0].seqno() < w[1].seqno()));
        let later = room.since(since[4].seqno(), ALL).await.unwrap();
        assert_eq!(later.iter().map(Row::id).collect::<Vec<_>>(), ids[5..]);
        for n in &recent {
            assert!(n.is_authentic());
        }
    }

    edit_and_delete = |community, way| {
        let room = community.room(way, &person(way, 0));
        let posted = room.post("first").await.unwrap();
        let seqno = room.message(posted.id).await.unwrap().seqno;
        room.edit(posted.id, "second").await.unwrap();
        let edited = room.message(posted.id).await.unwrap();
        assert_eq!(edited.body(), Some("second"));
        assert!(edited.edited.is_some() && edited.is_authentic() && edited.seqno > seqno);
        let stranger = community.room(way, &person(way, 1));
        assert_eq!(stranger.edit(posted.id, "x").await.unwrap_err().cause(), &Cause::Forbidden);
        assert_eq!(stranger.delete(posted.id).await.unwrap_err().cause(), &Cause::Forbidden);
        room.delete(posted.id).await.unwrap();
        assert_eq!(room.delete(posted.id).await.unwrap_err().cause(), &Cause::NotFound);
        assert_eq!(room.message(posted.id).await.unwrap_err().cause(), &Cause::NotFound);
        let rows = room.since(edited.seqno, ALL).await.unwrap();
        assert!(matches!(&rows[..], [Row::Deleted(tombstone)] if tombstone.id == posted.id && tombstone.deleted_at.is_some()));
    }

    an_edit_keeps_files_name_reply_and_preview = |community, way| {
        let room = community.room(way, &person(way, 0));
        let first = room.post("the question").await.unwrap();
        let first = room.message(first.id).await.unwrap();
        let file = room.upload(Upload::new(b"notes".to_vec()).name("notes.txt")).await.unwrap();
        let post = Post::text("http://example.org says")
            .name("Bob")
            .file(file.clone())
            .preview("http://example.org", "Example")
            .reply_to(&first);
        let id = room.post(post).await.unwrap().id;
        let before = room.message(id).await.unwrap().content().unwrap().clone();

        room.edit(id, "http://example.org said").await.unwrap();
        let edited = room.message(id).await.unwrap();
        assert!(edited.is_authentic() && edited.edited.is_some());
        let after = edited.content().unwrap().clone();
        let mut wanted = before.data_message.clone().unwrap();
        wanted.body = Some("http://example.org said".to_owned());
        assert_eq!(after.data_message.unwrap(), wanted);
        assert!(after.sig_timestamp >= before.sig_timestamp);
        // The file still hangs on the message.
        let download = room.download(file.id).await.unwrap();
        assert_eq!((&download.bytes[..], download.expires.is_some()), (&b"notes"[..], true));

        room.edit(id, Post::text("").name("Eve")).await.unwrap();
        let renamed = room.message(id).await.unwrap();
        assert_eq!((renamed.body(), renamed.display_name()), (Some("http://example.org said"), Some("Eve")));
        room.replace(id, "alone").await.unwrap();
        let replaced = room.message(id).await.unwrap();
        assert_eq!((replaced.body(), replaced.display_name()), (Some("alone"), None));
        assert!(replaced.content().unwrap().attachments().is_empty());
    }

    delete_all_here_and_everywhere = |community, way| {
        let other = format!("other-{}", format!("{way:?}").to_lowercase());
        community.room_add(&other).await;
        let me = person(way, 0);
        let server = community.server(way, &me);
        let id = server.my_id().await.unwrap();
        server.room(&token("main")).post("one").await.unwrap();
        server.room(&token(&other)).post("two").await.unwrap();
        let moderator = community.server(way, &admin());
        moderator.room(&token("main")).delete_all(&id).await.unwrap();
        let gone = moderator.room(&token("main")).delete_all(&id).await.unwrap_err();
        assert_eq!(gone.cause(), &Cause::NotFound);
        let deleted = moderator.delete_everywhere(&id).await.unwrap();
        assert_eq!((deleted.total, deleted.rooms[&token(&other)]), (1, 1));
        let stranger = community.room(way, &person(way, 1));
        assert_eq!(stranger.delete_all(&id).await.unwrap_err().cause(), &Cause::Forbidden);
    }

    pins = |community, way| {
        let room = community.room(way, &admin());
        let (one, two) = (room.post("one").await.unwrap().id, room.post("two").await.unwrap().id);
        let before = room.info().await.unwrap().info_updates;
        assert!(room.pin(one).await.unwrap() > before);
        room.pin(two).await.unwrap();
        let pinned: Vec<_> = room.info().await.unwrap().pinned_messages.iter().map(|pin| pin.id).collect();
        assert!(pinned.contains(&one) && pinned.contains(&two));
        assert_eq!(room.unpin(one).await.unwrap().unpinned, 1);
        assert_eq!(room.unpin(one).await.unwrap().unpinned, 0);
        assert_eq!(room.unpin_all().await.unwrap().unpinned, 1);
        assert!(room.info().await.unwrap().pinned_messages.is_empty());
        assert_eq!(room.pin(999_999).await.unwrap_err().cause(), &Cause::NotFound);
        let user = community.room(way, &person(way, 0));
        assert_eq!(user.pin(one).await.unwrap_err().cause(), &Cause::Forbidden);
    }

    reactions = |community, way| {
        let (room, user) = (community.room(way, &admin()), community.room(way, &person(way, 0)));
        let id = room.post("react!").await.unwrap().id;
        let reacted = user.react(id, "👍").await.unwrap();
        assert!(reacted.added);
        assert!(!user.react(id, "👍").await.unwrap().added);
        room.react(id, "👍").await.unwrap();
        room.react(id, "🧑‍🔬").await.unwrap();
        let message = user.message(id).await.unwrap();
        let thumbs = &message.reactions["👍"];
        assert_eq!((thumbs.index, thumbs.count, thumbs.you), (0, 2, true));
        let me = user.server().my_id().await.unwrap();
        assert_eq!(thumbs.reactors.as_ref().unwrap()[0], me);
        let rows = user.since(reacted.seqno, ALL).await.unwrap();
        assert!(matches!(&rows[..], [Row::Reactions(row)] if row.id == id && row.reactions.len() == 2), "{rows:?}");
        let who = user.reactors(id, "👍", Some(10)).await.unwrap();
        assert_eq!((who.len(), who[0].0), (2, me));
        assert!(user.unreact(id, "👍").await.unwrap().removed);
        assert!(!user.unreact(id, "👍").await.unwrap().removed);
        assert_eq!(user.clear_reactions(id, None).await.unwrap_err().cause(), &Cause::Forbidden);
        assert_eq!(room.clear_reactions(id, Some("👍")).await.unwrap().removed, 1);
        assert_eq!(room.clear_reactions(id, None).await.unwrap().removed, 1);
        assert!(user.message(id).await.unwrap().reactions.is_empty());
    }

    whispers = |community, way| {
        let (room, user, other) =
            (community.room(way, &admin()), community.room(way, &person(way, 0)), community.room(way, &person(way, 1)));
        let user_id = user.server().my_id().await.unwrap();
        // The server must have met somebody to whisper to them.
        user.recent(ALL).await.unwrap();
        let to = room.post(Post::text("psst").whisper_to(user_id)).await.unwrap().id;
        let mods = room.post(Post::text("mods only").whisper_mods()).await.unwrap().id;
        let seen = user.message(to).await.unwrap();
        assert!(seen.whisper && seen.whisper_to == Some(user_id) && seen.is_authentic());
        assert_eq!(other.message(to).await.unwrap_err().cause(), &Cause::NotFound);
        assert_eq!(user.message(mods).await.unwrap_err().cause(), &Cause::NotFound);
        assert!(room.message(mods).await.unwrap().whisper_mods);
        let error = user.post(Post::text("x").whisper_mods()).await.unwrap_err();
        assert_eq!(error.cause(), &Cause::Forbidden);
    }

    files = |community, way| {
        let room = community.room(way, &person(way, 0));
        let bytes: Vec<u8> = (0..100_000u32).map(|n| n.to_le_bytes()[n as usize % 3]).collect();
        let progress = Arc::new(AtomicU64::new(0));
        let seen = progress.clone();
        let upload = Upload::new(bytes.clone())
            .name("my 🎂.txt")
            .content_type("text/plain")
            .on_progress(move |sent, total| { seen.store(sent, Ordering::SeqCst); assert!(sent <= total); });
        let file = room.upload(upload).await.unwrap();
        assert!(progress.load(Ordering::SeqCst) >= bytes.len() as u64);
        assert_eq!(file.url, format!("{}/room/main/file/{}", community.url(), file.id));
        let got = Arc::new(AtomicU64::new(0));
        let seen = got.clone();
        let back = room.download_with(file.id, move |so_far, _| seen.store(so_far, Ordering::SeqCst)).await.unwrap();
        assert_eq!((back.bytes.as_ref(), back.name.as_deref()), (bytes.as_slice(), Some("my 🎂.txt")));
        assert!(back.expires.is_some() && got.load(Ordering::SeqCst) >= bytes.len() as u64);
        let second = room.upload(Upload::new(vec![1, 2, 3])).await.unwrap();
        let posted = room.post(Post::text("with files").file(file.clone()).file(second)).await.unwrap();
        let message = room.message(posted.id).await.unwrap();
        let attached = message.content().unwrap().attachments().to_vec();
        assert_eq!(attached.len(), 2);
        assert_eq!((attached[0].id, attached[0].size, attached[0].url.clone()), (file.id, Some(100_000), Some(file.url)));
        assert_eq!(room.download(999_999).await.unwrap_err().cause(), &Cause::NotFound);
    }

    bans = |community, way| {
        let user = community.room(way, &person(way, 0));
        let id = user.server().my_id().await.unwrap();
        user.post("before").await.unwrap();
        let room = community.room(way, &admin());
        room.ban(&id, None).await.unwrap();
        assert_eq!(user.post("x").await.unwrap_err().cause(), &Cause::Forbidden);
        room.unban(&id).await.unwrap();
        user.post("after").await.unwrap();
        room.ban(&id, Some(Duration::from_secs(3600))).await.unwrap();
        assert_eq!(user.recent(ALL).await.unwrap_err().cause(), &Cause::Forbidden);
        room.unban(&id).await.unwrap();
        room.server().ban(&id, &Scope::Global, None).await.unwrap();
        let error = user.server().rooms().await.unwrap_err();
        assert_eq!(error.cause(), &Cause::Banned);
        assert!(error.is_permanent());
        room.server().unban(&id, &Scope::Global).await.unwrap();
        room.server().ban(&id, &Scope::AllRooms, None).await.unwrap();
        room.server().unban(&id, &Scope::AllRooms).await.unwrap();
        assert_eq!(user.ban(&id, None).await.unwrap_err().cause(), &Cause::Forbidden);
    }

    moderators = |community, way| {
        let user = community.room(way, &person(way, 0));
        let id = user.server().my_id().await.unwrap();
        user.recent(ALL).await.unwrap();
        let room = community.room(way, &admin());
        let changed = room.set_role(&id, RoleChange::MODERATOR).await.unwrap();
        assert!(changed.info_updates[&token("main")] > 0);
        let info = user.info().await.unwrap();
        assert!(info.moderator && !info.admin && info.moderators.contains(&id));
        room.set_role(&id, RoleChange { visible: Some(false), ..RoleChange::ADMIN }).await.unwrap();
        let info = user.info().await.unwrap();
        assert!(info.admin && info.hidden_admins.contains(&id) && !info.admins.contains(&id));
        room.set_role(&id, RoleChange::NONE).await.unwrap();
        assert!(!user.info().await.unwrap().moderator);
        room.server().set_role(&id, &Scope::Global, RoleChange::MODERATOR).await.unwrap();
        assert!(user.info().await.unwrap().global_moderator);
        room.server().set_role(&id, &Scope::Global, RoleChange::NONE).await.unwrap();
        assert_eq!(user.set_role(&id, RoleChange::ADMIN).await.unwrap_err().cause(), &Cause::Forbidden);
    }

    permissions = |community, way| {
        let user = community.room(way, &person(way, 0));
        let id = user.server().my_id().await.unwrap();
        user.recent(ALL).await.unwrap();
        let room = community.room(way, &admin());
        let change = PermissionChange { write: Some(false), upload: Some(false), ..PermissionChange::default() };
        let set = room.set_permissions(&id, change).await.unwrap();
        assert_eq!((set.write, set.upload, set.read), (Some(false), Some(false), None));
        assert_eq!(user.post("x").await.unwrap_err().cause(), &Cause::Forbidden);
        assert_eq!(room.permissions_of(&id).await.unwrap(), set);
        assert_eq!(room.permissions().await.unwrap()[&id], set);
        let change = PermissionChange { default_write: true, default_upload: true, ..PermissionChange::default() };
        assert_eq!(room.set_permissions(&id, change).await.unwrap().write, None);
        user.post("again").await.unwrap();
        assert_eq!(user.permissions().await.unwrap_err().cause(), &Cause::Forbidden);
    }

    future_permissions = |community, way| {
        let user = community.room(way, &person(way, 0));
        let id = user.server().my_id().await.unwrap();
        user.recent(ALL).await.unwrap();
        let room = community.room(way, &admin());
        let list = room.schedule_permissions(&id, None, Some(false), None, Duration::from_secs(3600)).await.unwrap();
        assert_eq!((list.len(), list[0].write), (1, Some(false)));
        assert_eq!(room.future_permissions_of(&id).await.unwrap(), list);
        let everybody = room.future_permissions().await.unwrap();
        let count = match &everybody {
            Scheduled::ByUser(users) => users.get(&id).map_or(0, Vec::len),
            Scheduled::List(list) => list.len(),
        };
        assert!(count >= 1, "{everybody:?}");
        room.schedule_permissions(&id, None, Some(false), None, Duration::from_millis(500)).await.unwrap();
        tokio::time::timeout(Duration::from_secs(30), async {
            while user.info().await.unwrap().write {
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        }).await.expect("the change happens");
    }

    inbox_and_outbox = |community, way| {
        let (alice, bob) = (person(way, 0), person(way, 1));
        let (to_bob, from_alice) = (community.server(way, &bob), community.server(way, &alice));
        let (bob_id, alice_id) = (to_bob.my_id().await.unwrap(), from_alice.my_id().await.unwrap());
        to_bob.room(&token("main")).recent(ALL).await.unwrap();
        let receipt = from_alice.inbox().send(&bob_id, "hello Bob", Some("Alice")).await.unwrap();
        assert_eq!((receipt.sender, receipt.recipient), (alice_id, bob_id));
        let got = to_bob.inbox().received(None).await.unwrap();
        assert_eq!(got.len(), 1);
        assert_eq!((got[0].body(), got[0].sender()), (Some("hello Bob"), Some(alice.session_id())));
        assert!(to_bob.inbox().received(Some(receipt.id)).await.unwrap().is_empty());
        let sent = from_alice.inbox().sent(None).await.unwrap();
        assert_eq!((sent.len(), sent[0].body()), (1, Some("hello Bob")));
        assert!(from_alice.run(calls::direct_messages(DirectBox::Outbox, Some(receipt.id), Some(5))).await.unwrap().is_empty());
        assert_eq!(to_bob.inbox().clear().await.unwrap(), 1);
        assert!(to_bob.inbox().received(None).await.unwrap().is_empty());
        let nobody = sogs_client::Identity::from_seed([0xee; 32]).blind15(&community.key()).id();
        let error = from_alice.inbox().send(&nobody, "x", None).await.unwrap_err();
        assert_eq!(error.cause(), &Cause::NotFound);
        let error = from_alice.inbox().send(&bob.session_id(), "x", None).await.unwrap_err();
        assert!(matches!(error.cause(), Cause::DirectMessage(_)));
    }

    batch_and_sequence = |community, way| {
        let server = community.server(way, &person(way, 0));
        let main = token("main");
        server.room(&main).post("something").await.unwrap();
        let mut batch = Batch::new();
        let capabilities = batch.add(calls::capabilities());
        let info = batch.add(calls::room(&main));
        let nothing = batch.add(calls::room(&token("nowhere")));
        let recent = batch.add(calls::recent(&main, ALL));
        let inbox = batch.add(calls::direct_messages(DirectBox::Inbox, None, None));
        let file = batch.add(calls::upload(&main, Some("b.bin"), vec![0xff, 0, 1].into()));
        let mut answers = batch.run(&server).await.unwrap();
        assert!(answers.take(capabilities).unwrap().unwrap().has("sogs"));
        assert_eq!(answers.take(info).unwrap().unwrap().token, main);
        assert_eq!(answers.take(nothing).unwrap().unwrap_err().cause(), &Cause::NotFound);
        assert!(answers.take(recent).unwrap().unwrap()[0].is_authentic());
        assert!(answers.take(inbox).unwrap().unwrap().is_empty());
        let file = answers.take(file).unwrap().unwrap().id;
        assert_eq!(server.room(&main).download(file).await.unwrap().bytes.as_ref(), [0xff, 0, 1]);

        let mut sequence = Batch::new();
        let first = sequence.add(calls::room(&main));
        let failing = sequence.add(calls::room(&token("nowhere")));
        let never = sequence.add(calls::capabilities());
        let mut answers = sequence.run_in_sequence(&server).await.unwrap();
        assert!(answers.take(first).unwrap().is_ok());
        assert!(answers.take(failing).unwrap().is_err());
        assert!(answers.take(never).is_none());
    }

    raw_calls = |community, way| {
        let server = community.server(way, &admin());
        let answer = server.raw("GET", "/room/main/pollInfo/0?x=1", None).await.unwrap();
        assert_eq!(answer.status, 200);
        assert!(serde_json::from_slice::<serde_json::Value>(&answer.body).unwrap()["token"] == "main");
        let answer = server.raw("PUT", "/room/main", Some(json!({"name": "Raw ünïcode"}))).await.unwrap();
        assert_eq!(answer.status, 200);
        let id = server.room(&token("main")).post("x").await.unwrap().id;
        server.raw("PUT", &format!("/room/main/reaction/{id}/🍆"), Some(json!({}))).await.unwrap();
        assert_eq!(server.raw("GET", "/no/such/thing", None).await.unwrap_err().cause(), &Cause::NotFound);
    }

    a_message_is_found_again_and_never_posted_twice = |community, way| {
        let room = community.room(way, &person(way, 0));
        let prepared = room.prepare(&Post::text("once").name("x")).await.unwrap();
        assert!(room.find_own(&prepared).await.unwrap().is_none());
        let posted = room.post_prepared(&prepared).await.unwrap();
        room.post("another").await.unwrap();
        assert_eq!(room.find_own(&prepared).await.unwrap().unwrap().id, posted.id);
        let other = room.prepare(&Post::text("once").name("y")).await.unwrap();
        assert!(room.find_own(&other).await.unwrap().is_none());
    }

    the_rate_limit_tells_how_long = |community, way| {
        let room = community.room(way, &person(way, 0));
        for n in 0..5 {
            room.post(format!("{n}")).await.unwrap();
        }
        let error = room.post("too much").await.unwrap_err();
        assert_eq!(error.cause(), &Cause::RateLimited);
        assert!(!error.is_permanent() && error.retry_after().unwrap() >= Duration::from_secs(1));
    }

    a_clock_that_is_off_is_measured = |community, way| {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        let days_ago = now.checked_sub(Duration::from_hours(72)).unwrap();
        let server = community
            .builder(way)
            .identity(person(way, 0))
            .clock(Arc::new(move || days_ago))
            .blinding(Blinding::Yes)
            .build()
            .unwrap();
        let error = server.rooms().await.unwrap_err();
        let three_days = 3 * 86_400;
        let Cause::ClockSkew { offset_secs: Some(offset) } = error.cause() else { panic!("{error}") };
        assert!((three_days - 5..=three_days + 5).contains(offset), "{error}");
        assert!(error.to_string().contains("clock is 3 days behind the server's"), "{error}");
    }
}

#[tokio::test]
async fn without_blinding_the_account_itself_shows_and_its_messages_verify() {
    let community = Community::start_with(|config| config.users.require_blind_keys = false).await;
    for way in WAYS {
        // Both signs of the key.
        for n in 0..4 {
            let me = person(way, n);
            let room = community.room(way, &me);
            let posted = room.post("as myself").await.unwrap();
            let message = room.message(posted.id).await.unwrap();
            assert_eq!(message.author, me.session_id());
            assert!(message.is_authentic(), "{:?}", message.problem());
        }
        let blinded = community
            .builder(way)
            .identity(person(way, 9))
            .blinding(Blinding::Yes)
            .build()
            .unwrap();
        assert!(
            blinded
                .room(&token("main"))
                .post("blinded")
                .await
                .unwrap()
                .message
                .unwrap()
                .is_authentic()
        );
    }
}
