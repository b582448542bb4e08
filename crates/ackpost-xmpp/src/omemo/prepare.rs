//! Data needed before a message is encrypted: the readers, their devices, sessions with them.

use std::collections::{BTreeMap, BTreeSet};

use super::archive::{self, ArchivePosition};
use super::device::Device;
use super::error::OmemoError;
use super::own_device::ROUNDS_MAX;
use super::pep::{self, Fetched, VERSIONS};
use super::rooms;
use super::server::{Answer, Question, Server, connection_error};
use super::sessions::{start, without_session};
use super::store::{Address, State, ids};
use super::system::now;
use crate::error::XmppError;
use crate::jid::Jid;
use crate::message::Target;

/// Age up to which a device list is used, in seconds.
const LIST_AGE_MAX: u64 = 3600;
/// Time after which the own list and bundles are checked again, in seconds.
const PUBLISHED_AGE_MAX: u64 = 24 * 3600;

/// The readers of a message.
#[derive(Clone, Debug, Default)]
pub(super) struct Readers {
    /// Bare addresses, without the own account.
    pub(super) people: Vec<Jid>,
    pub(super) room: Option<Jid>,
}

/// Knowledge that an encryption needs.
#[derive(Debug, Default)]
pub(super) struct Prepared {
    /// The readers of each target, by its bare address.
    pub(super) readers: BTreeMap<String, Result<Readers, OmemoError>>,
    /// Accounts whose lists could not be fetched, with the reason.
    pub(super) later: BTreeMap<String, String>,
    /// Devices whose bundles could not be fetched.
    pub(super) bundles_later: BTreeSet<Address>,
}

impl Prepared {
    /// The members of all rooms.
    fn members(&self) -> Vec<Jid> {
        let mut members: Vec<Jid> = Vec::new();
        for readers in self.readers.values().flatten() {
            if readers.room.is_some() {
                members.extend(readers.people.iter().cloned());
            }
        }
        members
    }
}

/// Questions that are open according to the state.
struct Need {
    publish: bool,
    archive: Option<ArchivePosition>,
    /// Accounts whose lists have to be read.
    lists: Vec<Jid>,
}

impl Need {
    fn of(state: &State, people: &[Jid]) -> Self {
        let now = now();
        let stale = |jid: &Jid| {
            let lists = state.lists.get(&jid.to_string());
            // Somebody without devices may have one by now.
            lists.is_none_or(|lists| lists.is_empty() || lists.at + LIST_AGE_MAX < now)
        };
        Self {
            publish: state.own.is_none() || state.published + PUBLISHED_AGE_MAX < now,
            archive: archive::waiting(state, people, now),
            lists: people.iter().filter(|jid| stale(jid)).cloned().collect(),
        }
    }
}

impl Device {
    /// Learns everything that the messages to these targets need. Two round trips at the first message to somebody,
    /// none while everything is known.
    pub(super) async fn prepare(
        &self,
        server: &mut impl Server,
        targets: &[Target],
    ) -> Result<Prepared, XmppError> {
        let (mut prepared, mut people, rooms) = self.begin(targets);
        let need = self.need(people.clone()).await?;
        self.first_round(server, &need, &rooms, &mut prepared).await?;
        let members = prepared.members();
        if !members.is_empty() {
            let need = self.need(members.clone()).await?;
            self.read_lists(server, need.lists, &mut prepared).await?;
            people.extend(members);
        }
        if need.publish {
            self.publish(server).await?;
        }
        self.make_sessions(server, people.clone(), &mut prepared).await?;
        self.follow_up(server, ROUNDS_MAX, Some(people)).await?;
        Ok(prepared)
    }

    /// Returns the data known before any question: the people, with the own account, and the rooms.
    fn begin(&self, targets: &[Target]) -> (Prepared, Vec<Jid>, Vec<Jid>) {
        let mut prepared = Prepared::default();
        let mut people: Vec<Jid> = Vec::new();
        let mut rooms: Vec<Jid> = Vec::new();
        for target in targets {
            let address = target.address().to_bare();
            let list = match target {
                Target::User(_) => &mut people,
                Target::Room(_) => &mut rooms,
            };
            if !list.contains(&address) {
                list.push(address);
            }
        }
        for jid in &people {
            let readers = Readers {
                people: vec![jid.clone()],
                room: None,
            };
            prepared.readers.insert(jid.to_string(), Ok(readers));
        }
        people.push(self.own.clone());
        (prepared, people, rooms)
    }

    /// Reads all lists anew, whatever the state knows of them: nothing is published, read from the archive or sent. Returns
    /// the people as well, with the own account.
    pub(super) async fn read_all_lists(
        &self,
        server: &mut impl Server,
        targets: &[Target],
    ) -> Result<(Prepared, Vec<Jid>), XmppError> {
        let (mut prepared, mut people, rooms) = self.begin(targets);
        let need = Need {
            publish: false,
            archive: None,
            lists: people.clone(),
        };
        self.first_round(server, &need, &rooms, &mut prepared).await?;
        let mut members = prepared.members();
        members.retain(|jid| !people.contains(jid));
        if !members.is_empty() {
            self.read_lists(server, members.clone(), &mut prepared).await?;
            people.extend(members);
        }
        Ok((prepared, people))
    }

    async fn need(&self, people: Vec<Jid>) -> Result<Need, XmppError> {
        Ok(self.change(move |_, state| Ok(Need::of(state, &people))).await?)
    }

    /// Returns true if the messages can be encrypted without asking anybody.
    pub(super) fn knows_enough(&self, state: &State, prepared: &Prepared) -> bool {
        let mut people: Vec<Jid> = Vec::new();
        for readers in prepared.readers.values().flatten() {
            people.extend(readers.people.iter().cloned());
        }
        people.push(self.own.clone());
        let need = Need::of(state, &people);
        let due = need.publish || need.archive.is_some() || !need.lists.is_empty();
        let repairs = || people.iter().map(ToString::to_string);
        let repairs = state
            .repairs
            .iter()
            .any(|address| repairs().any(|jid| jid == address.jid));
        let follow = state.republish || !state.answers.is_empty() || repairs;
        !due && !follow && without_session(state, &people).is_ok_and(|wanted| wanted.is_empty())
    }

    /// Asks the questions that need no other answer first: lists of people, rooms, and waiting messages in the archive.
    async fn first_round(
        &self,
        server: &mut impl Server,
        need: &Need,
        rooms: &[Jid],
        prepared: &mut Prepared,
    ) -> Result<(), XmppError> {
        let mut questions = self.list_questions(&need.lists);
        let of_lists = questions.len();
        questions.extend(rooms.iter().flat_map(rooms::questions));
        questions.extend(need.archive.as_ref().map(ArchivePosition::question));
        let mut answers = server.ask_all(questions).await;
        if let Some(error) = connection_error(&answers) {
            return Err(error);
        }
        let page = need.archive.as_ref().and_then(|_| answers.pop());
        let of_rooms = answers.split_off(of_lists);
        self.take_lists(&need.lists, answers, prepared).await?;
        for (room, answers) in rooms.iter().zip(of_rooms.chunks(rooms::QUESTIONS)) {
            let readers = rooms::members(room, &self.own, answers).map(|people| Readers {
                people,
                room: Some(room.clone()),
            });
            prepared.readers.insert(room.to_string(), readers);
        }
        if let (Some(waiting), Some(Ok(page))) = (need.archive.clone(), page) {
            self.read_archive(server, waiting, page).await?;
        }
        Ok(())
    }

    fn list_questions(&self, people: &[Jid]) -> Vec<Question> {
        people
            .iter()
            .flat_map(|jid| VERSIONS.map(|version| pep::list_question(&self.asked(jid), version)))
            .collect()
    }

    /// Returns the address to ask: an empty one for the own account, which answers in its own name or without any.
    pub(super) fn asked(&self, jid: &Jid) -> String {
        if *jid == self.own {
            String::new()
        } else {
            jid.to_string()
        }
    }

    async fn read_lists(
        &self,
        server: &mut impl Server,
        people: Vec<Jid>,
        prepared: &mut Prepared,
    ) -> Result<(), XmppError> {
        let answers = server.ask_all(self.list_questions(&people)).await;
        if let Some(error) = connection_error(&answers) {
            return Err(error);
        }
        self.take_lists(&people, answers, prepared).await
    }

    async fn take_lists(
        &self,
        people: &[Jid],
        answers: Vec<Result<Answer, XmppError>>,
        prepared: &mut Prepared,
    ) -> Result<(), XmppError> {
        let mut found = Vec::new();
        let mut answers = answers.iter();
        for jid in people {
            for version in VERSIONS {
                let Some(answer) = answers.next() else { break };
                match pep::read_list(answer, version) {
                    Fetched::There(list) => found.push((jid.to_string(), version, ids(&list))),
                    Fetched::Broken | Fetched::Nothing => found.push((jid.to_string(), version, Vec::new())),
                    Fetched::Later(reason) => {
                        prepared.later.insert(jid.to_string(), reason);
                    }
                }
            }
        }
        if found.is_empty() {
            return Ok(());
        }
        self.change(move |_, state| {
            let now = now();
            for (jid, version, devices) in found {
                state.set_list(&jid, version, devices, now);
            }
            Ok(())
        })
        .await?;
        Ok(())
    }

    /// Fetches the bundles of devices without session, and starts sessions. Nothing is sent to them yet.
    async fn make_sessions(
        &self,
        server: &mut impl Server,
        people: Vec<Jid>,
        prepared: &mut Prepared,
    ) -> Result<(), XmppError> {
        let wanted = self
            .change(move |_, state| without_session(state, &people))
            .await?;
        if wanted.is_empty() {
            return Ok(());
        }
        let found = self.fetch_bundles(server, wanted).await?;
        for (address, fetched) in &found {
            if matches!(fetched, Fetched::Later(_)) {
                prepared.bundles_later.insert(address.clone());
            }
        }
        self.change(move |this, state| {
            let account = state.account()?;
            for (address, fetched) in found {
                start(this, state, &account, &address, fetched);
            }
            Ok(())
        })
        .await?;
        Ok(())
    }
}
