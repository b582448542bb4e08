//! A bot at work.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ackpost_bot::{Cooldowns, Found, Memory, Role};
use tokio::time::Instant;

use super::context::Context;
use super::outcome::{BotError, Outcome};
use super::people::{Person, Room};
use super::plan::{Handler, Parts, Plan, Scheduled};
use crate::account::Account;
use crate::jid::Jid;
use crate::message::RoomTarget;
use crate::session::{Event, Events, Received, Session, SessionOptions};

/// Pauses between two attempts to log in again.
const FIRST_PAUSE: Duration = Duration::from_secs(2);
const LONGEST_PAUSE: Duration = Duration::from_mins(5);

/// The options of a session that goes on in each room behind the last message that was dealt with.
fn options(
    targets: &[RoomTarget],
    places: &BTreeMap<String, String>,
    since: &BTreeMap<String, String>,
) -> SessionOptions {
    let mut options = SessionOptions::receiving(targets.to_vec());
    options.catch_up_since = targets
        .iter()
        .filter_map(|target| {
            let room = target.room.to_bare();
            let began = since.get(&room.to_string())?.clone();
            Some((room, began))
        })
        .collect();
    options.catch_up = targets
        .iter()
        .map(|target| {
            let room = target.room.to_bare();
            let after = places.get(&room.to_string()).cloned();
            (room, after)
        })
        .collect();
    options
}

/// The next thing that a bot does.
pub(super) enum Work {
    /// An event; `None` when the session is over.
    Event(Option<Box<Event>>),
    /// A schedule is due.
    Schedule,
}

pub(super) struct Running {
    bot: Arc<Parts>,
    account: Account,
    session: Session,
    events: Events,
    targets: Vec<RoomTarget>,
    rooms: HashMap<Jid, Room>,
    scheduled: Vec<Scheduled>,
    memory: Memory,
    /// By room, the last message that was dealt with.
    places: BTreeMap<String, String>,
    /// By room, the time since which the bot is at work there.
    since: BTreeMap<String, String>,
    cooldowns: Cooldowns<String>,
    on_ready: Option<Box<dyn FnOnce() + Send>>,
}

impl Running {
    pub(super) async fn start(bot: Plan) -> Result<Self, BotError> {
        let Plan {
            account,
            rooms: targets,
            store,
            mut scheduled,
            on_ready,
            parts,
        } = bot;
        let mut memory = Memory::load(store)?;
        let places: BTreeMap<String, String> = memory.read("places")?.unwrap_or_default();
        let mut since: BTreeMap<String, String> = memory.read("since")?.unwrap_or_default();
        let now = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        let (session, events) = Session::open(&account, options(&targets, &places, &since)).await?;
        // A room in which nobody writes during this run has no other place to go on from.
        for target in &targets {
            since
                .entry(target.room.to_bare().to_string())
                .or_insert_with(|| now.clone());
        }
        memory.write("since", &since)?;
        for schedule in &mut scheduled {
            schedule.begin(&memory, now_ms());
        }
        let rooms = targets
            .iter()
            .map(|target| (target.room.to_bare(), Room::default()))
            .collect();
        Ok(Self {
            bot: Arc::new(parts),
            account,
            session,
            events,
            targets,
            rooms,
            scheduled,
            memory,
            places,
            since,
            cooldowns: Cooldowns::default(),
            on_ready,
        })
    }

    pub(super) async fn close(self) {
        self.session.close().await;
    }

    /// Waits for the next thing to do.
    pub(super) async fn wait(&mut self) -> Work {
        let now = now_ms();
        let due = self.scheduled.iter().map(|one| one.due_in(now)).min();
        let sleep = async {
            match due {
                Some(wait) => tokio::time::sleep(wait).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            event = self.events.next() => Work::Event(event.map(Box::new)),
            () = sleep => Work::Schedule,
        }
    }

    /// Returns false when the session is over.
    pub(super) async fn work(&mut self, work: Work) -> Result<bool, BotError> {
        match work {
            Work::Schedule => self.run_due().await.map(|()| true),
            Work::Event(None) => Ok(false),
            Work::Event(Some(event)) => self.handle(*event).await,
        }
    }

    /// Begins a new session. Presences may be among the events that were lost: nobody keeps a role, and the rooms say anew who is there.
    async fn log_in_again(&mut self) -> Outcome {
        self.rooms.values_mut().for_each(Room::clear);
        self.session.clone().close().await;
        let mut pause = FIRST_PAUSE;
        loop {
            match Session::open(&self.account, options(&self.targets, &self.places, &self.since)).await {
                Ok((session, events)) => {
                    self.session = session;
                    self.events = events;
                    return Ok(());
                }
                Err(error) if error.is_permanent() => return Err(error.into()),
                Err(error) => {
                    tracing::warn!(%error, seconds = pause.as_secs(), "the bot cannot log in; trying again");
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
        }
    }

    async fn run_due(&mut self) -> Outcome {
        let now = now_ms();
        let mut due = Vec::new();
        for schedule in &mut self.scheduled {
            if schedule.due_in(now).is_zero() {
                // Noted before it runs: a post that fails is better than one that comes twice.
                due.push(schedule.done(&mut self.memory, now));
            }
        }
        self.memory.save()?;
        for run in due {
            for target in self.targets.clone() {
                let ctx = self.context(Some(target));
                call(&run, ctx).await?;
            }
        }
        Ok(self.memory.save()?)
    }

    /// Deals with one event, then remembers that it is dealt with. Returns false when the session is over.
    async fn handle(&mut self, event: Event) -> Result<bool, BotError> {
        let bot = self.bot.clone();
        match event {
            Event::Ended { reason } => return reason.map_or(Ok(false), |error| Err(error.into())),
            Event::Online { resumed: false, .. } => self.rooms.values_mut().for_each(Room::clear),
            Event::Occupant { .. } => self.occupant(event).await?,
            Event::Room(received) => self.in_room(received).await?,
            Event::File(received) if received.room => self.in_room(received).await?,
            Event::Correction(received) if received.room && !received.own => {
                let place = place(&received);
                if let Some(ctx) = self.about_message(received) {
                    call_all(&bot.on_edit, &ctx).await?;
                }
                self.done(place)?;
            }
            Event::Chat(received) | Event::File(received) if !received.own => self.direct(received).await?,
            Event::Reaction {
                from,
                to,
                emoji,
                room: true,
                own: false,
                occupant_id,
                stamp,
                archive,
                ..
            } => {
                if let Some(mut ctx) = self.by(&from, occupant_id, stamp.is_some()) {
                    ctx.about = Some(to);
                    ctx.reactions = emoji;
                    call_all(&bot.on_reaction, &ctx).await?;
                }
                self.done(archive.map(|place| (place.by, place.id)))?;
            }
            Event::Retracted(retraction) if retraction.room && !retraction.own => {
                let old = retraction.stamp.is_some();
                if let Some(mut ctx) = self.by(&retraction.from, retraction.occupant_id, old) {
                    ctx.about = Some(retraction.id);
                    call_all(&bot.on_delete, &ctx).await?;
                }
                self.done(retraction.archive.map(|place| (place.by, place.id)))?;
            }
            Event::RoomLost { room, reason } => tracing::warn!(%room, %reason, "the room is lost"),
            Event::Offline { reason, retry_in } => {
                tracing::warn!(%reason, seconds = retry_in.as_secs(), "offline; trying again");
            }
            Event::Lagged(count) => {
                tracing::warn!(
                    count,
                    "events were lost; the bot logs in again and reads them from the archives"
                );
                self.log_in_again().await?;
            }
            _ => {}
        }
        Ok(true)
    }

    async fn occupant(&mut self, event: Event) -> Outcome {
        let Event::Occupant {
            room,
            nick,
            jid,
            affiliation,
            role,
            present,
            own,
            occupant_id,
            ..
        } = event
        else {
            return Ok(());
        };
        let Some(people) = self.rooms.get_mut(&room) else {
            return Ok(());
        };
        if !present {
            if own {
                people.clear();
            } else {
                people.leave(&nick);
            }
            return Ok(());
        }
        if own {
            // Everybody who was there before comes first (XEP-0045 section 7.2.2).
            people.entered = true;
            if self.rooms.values().all(|room| room.entered)
                && let Some(run) = self.on_ready.take()
            {
                run();
            }
            return Ok(());
        }
        let entered = people.entered;
        let person = Person {
            jid,
            affiliation,
            role,
            occupant_id: occupant_id.clone(),
        };
        let is_new = people.note(&nick, person);
        let from = room.with_resource(&nick).ok();
        if let Some(from) = from.filter(|_| is_new && entered)
            && let Some(ctx) = self.by(&from, occupant_id, false)
        {
            call_all(&self.bot.clone().on_join, &ctx).await?;
            self.memory.save()?;
        }
        Ok(())
    }

    async fn in_room(&mut self, received: Received) -> Outcome {
        let place = place(&received);
        if !received.own {
            let body = received.own_words();
            if let Some(ctx) = self.about_message(received) {
                let bot = self.bot.clone();
                let is_command = match bot.commands.line(body.trim()) {
                    Some(line) => self.try_command(line, &ctx).await?,
                    None => false,
                };
                if !is_command {
                    call_all(&bot.on_message, &ctx).await?;
                }
            }
        }
        self.done(place)
    }

    /// A chat message: of an account, or a private one of somebody in a room.
    async fn direct(&mut self, received: Received) -> Outcome {
        let bot = self.bot.clone();
        let Some(from) = received.from.clone() else {
            return Ok(());
        };
        let mut ctx = if let Some(room) = self.rooms.get(&from.to_bare()) {
            // A private message of a room proves the nick alone, and only while it is new.
            let Some(nick) = from.resource().filter(|_| received.stamp.is_none()) else {
                return Ok(());
            };
            let person = room.by_nick(nick, None).cloned();
            let mut ctx = self.context(None);
            ctx.has_nick = true;
            if let Some(person) = person {
                ctx.role = person.role(&bot.operators);
                ctx.jid = person.jid;
                ctx.occupant_id = person.occupant_id;
            }
            ctx
        } else {
            let mut ctx = self.context(None);
            ctx.role = if bot.operators.contains(&from.to_bare()) {
                Role::Operator
            } else {
                let roles = self.rooms.values().map(|room| room.role_of(&from));
                roles.max().unwrap_or(Role::Everyone)
            };
            ctx.jid = Some(from.to_bare());
            ctx
        };
        ctx.from = Some(from);
        let body = received.own_words();
        ctx.received = Some(Arc::new(received));
        let body = body.trim();
        let line = bot.commands.line(body).unwrap_or(body);
        if !self.try_command(line, &ctx).await? {
            call_all(&bot.on_direct, &ctx).await?;
        }
        Ok(self.memory.save()?)
    }

    /// Runs the command that `line` names; `false` if it names none.
    async fn try_command(&mut self, line: &str, ctx: &Context) -> Result<bool, BotError> {
        let commands = &self.bot.commands;
        let now = Instant::now().into_std();
        match commands.look(line, ctx.role, ctx.person(), &mut self.cooldowns, now) {
            Found::Nothing => return Ok(false),
            Found::Say(text) => finish(ctx.reply(text).await)?,
            Found::Run { handler, rest, args } => call(&handler, ctx.with_line(rest, args)).await?,
        }
        Ok(true)
    }

    fn context(&self, room: Option<RoomTarget>) -> Context {
        Context::new(self.session.clone(), self.memory.recollection(), room)
    }

    fn target(&self, room: &Jid) -> Option<RoomTarget> {
        self.targets
            .iter()
            .find(|target| target.room.same_bare(room))
            .cloned()
    }

    /// Returns true for a message from before the bot first came into the room.
    fn is_history(&self, room: &Jid, old: bool) -> bool {
        old && !self.places.contains_key(&room.to_bare().to_string())
    }

    /// The context of a message in a room of ours.
    fn about_message(&self, received: Received) -> Option<Context> {
        let from = received.from.clone()?;
        let room = self.rooms.get(&from.to_bare())?;
        if self.is_history(&from, received.stamp.is_some()) {
            return None;
        }
        let mut ctx = self.context(Some(self.target(&from)?));
        // Somebody of the other side of a bridge speaks: the bridge's role is not theirs.
        if received.bridge.is_none()
            && let Some(person) = room.author(&received)
        {
            ctx.role = person.role(&self.bot.operators);
            ctx.jid.clone_from(&person.jid);
        }
        ctx.occupant_id.clone_from(&received.occupant_id);
        ctx.from = Some(from);
        ctx.received = Some(Arc::new(received));
        Some(ctx)
    }

    /// The context of something that somebody did in a room of ours; `old`: it was read from the archive.
    fn by(&self, from: &Jid, occupant_id: Option<String>, old: bool) -> Option<Context> {
        let room = self.rooms.get(&from.to_bare())?;
        if self.is_history(from, old) {
            return None;
        }
        let mut ctx = self.context(Some(self.target(from)?));
        let person = from
            .resource()
            .and_then(|nick| room.by_nick(nick, occupant_id.as_deref()));
        if let Some(person) = person.filter(|_| !old) {
            ctx.role = person.role(&self.bot.operators);
            ctx.jid.clone_from(&person.jid);
        }
        ctx.occupant_id = occupant_id;
        ctx.from = Some(from.clone());
        Some(ctx)
    }

    /// Remembers values, and then how far a room was dealt with.
    fn done(&mut self, place: Option<(Jid, String)>) -> Outcome {
        self.memory.save()?;
        if let Some((room, id)) = place
            && self.rooms.contains_key(&room)
        {
            self.places.insert(room.to_string(), id);
            self.memory.write("places", &self.places)?;
        }
        Ok(())
    }
}

/// Returns the place of a message in the archive of its room.
fn place(received: &Received) -> Option<(Jid, String)> {
    let place = received.archive.as_ref()?;
    Some((place.by.clone(), place.id.clone()))
}

async fn call_all(handlers: &[Handler], ctx: &Context) -> Outcome {
    for run in handlers {
        call(run, ctx.clone()).await?;
    }
    Ok(())
}

/// Runs a handler. Its failure is logged and, where meant so, answered; it does not stop the bot.
async fn call(run: &Handler, ctx: Context) -> Outcome {
    finish(match run(ctx.clone()).await {
        Err(BotError::Say(text)) => ctx.reply(text).await,
        outcome => outcome,
    })
}

/// Logs the failure of a handler. Only a store that fails ends the bot.
fn finish(outcome: Outcome) -> Outcome {
    match outcome {
        Err(BotError::State(error)) => Err(error.into()),
        Err(error) => {
            tracing::warn!(%error, "a handler failed");
            Ok(())
        }
        Ok(()) => Ok(()),
    }
}

/// Milliseconds since 1970.
fn now_ms() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or(Duration::ZERO);
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
