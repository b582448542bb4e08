//! Finding people of a community by what a member sees of them: short ids, names, and the numbers of their messages.

use std::collections::BTreeMap;

use session_protocol::SessionId;
use session_protocol::person::{self, PersonRef};
use sogs_client::{ListOptions, Message, Room};

use super::place::{Place, failed};
use super::show;
use crate::cmd::people::PeopleArgs;
use crate::exit::Failure;

/// Messages that are searched for names and short ids, the newest first.
const SEARCHED: usize = 1_024;
/// Messages of one request.
const PAGE: u32 = 256;
/// Candidates that an error names.
const MAX_NAMED: usize = 10;

/// A person whom a member knows of: the name of their newest message, if it has one.
type Known = BTreeMap<SessionId, Option<String>>;

/// Finds people of one room; what it read is kept for the next one.
pub(crate) struct Finder<'a> {
    room: &'a Room,
    known: Option<Known>,
}

impl<'a> Finder<'a> {
    pub(crate) fn new(place: &'a Place) -> Self {
        Self {
            room: &place.room,
            known: None,
        }
    }

    /// Finds all people of the arguments, each once, before anything is done about one of them.
    pub(super) async fn people(&mut self, args: &PeopleArgs) -> Result<Vec<SessionId>, Failure> {
        self.list(&args.text()?).await
    }

    /// Finds people, one a line, each once.
    pub(super) async fn list(&mut self, text: &str) -> Result<Vec<SessionId>, Failure> {
        let mut all = Vec::new();
        for line in person::lines(text) {
            let id = self.find(line).await?;
            if !all.contains(&id) {
                all.push(id);
            }
        }
        if all.is_empty() {
            return Err(Failure::usage(
                "no person is given",
                "give an id, a short id, a display name or the number of a message",
            ));
        }
        Ok(all)
    }

    /// Finds the one person whom a text names.
    pub(crate) async fn find(&mut self, text: &str) -> Result<SessionId, Failure> {
        let person = text.parse().map_err(|error: session_protocol::IdError| {
            Failure::usage(
                format!("`{text}` is not a valid session id: {error}"),
                "a session id is 05, 15 or 25 and 64 hexadecimal digits",
            )
        })?;
        let found: Vec<(SessionId, Option<String>)> = match person {
            PersonRef::Id(id) => return Ok(id),
            PersonRef::Message(number) => {
                return match self.room.message(number).await {
                    Ok(message) => Ok(message.author),
                    Err(error) if error.status() == Some(404) => Err(Failure::new(
                        format!("message {number} does not exist"),
                        "`ackpost room read` shows the numbers; `name:TEXT` means somebody of that name",
                    )),
                    Err(error) => Err(failed(error)),
                };
            }
            PersonRef::Short(short) => self.matching(|id, _| short.fits(id)).await?,
            PersonRef::Name(name) => {
                let wanted = name.to_lowercase();
                let fits = |name: &str| !wanted.is_empty() && name.trim().to_lowercase() == wanted;
                self.matching(|_, name| name.is_some_and(fits)).await?
            }
        };
        match found.as_slice() {
            [(id, _)] => Ok(*id),
            [] => Err(Failure::new(
                format!("`{text}` fits nobody in the {SEARCHED} newest messages of the room"),
                "give the whole id or the number of a message; `ackpost room read` and `room members` show them",
            )),
            _ => Err(several(text, &found)),
        }
    }

    async fn matching(
        &mut self,
        fits: impl Fn(&SessionId, Option<&str>) -> bool,
    ) -> Result<Vec<(SessionId, Option<String>)>, Failure> {
        let known = match self.known.take() {
            Some(known) => known,
            None => read(self.room).await?,
        };
        let known = self.known.insert(known);
        Ok(known
            .iter()
            .filter(|(id, name)| fits(id, name.as_deref()))
            .map(|(id, name)| (*id, name.clone()))
            .collect())
    }
}

/// Returns the error for a text that fits several people, with their names.
fn several(text: &str, found: &[(SessionId, Option<String>)]) -> Failure {
    let list: Vec<String> = found
        .iter()
        .take(MAX_NAMED)
        .map(|(id, name)| match name {
            Some(name) => format!("{id} ({})", show::safe(name).replace('\n', " ")),
            None => id.to_string(),
        })
        .collect();
    let more = if found.len() > MAX_NAMED { ", …" } else { "" };
    Failure::usage(
        format!("`{text}` fits several people: {}{more}", list.join(", ")),
        "give the whole id of one of them",
    )
}

/// Reads the people whom a member can know of: authors of the newest messages, moderators, and, for moderators,
/// everybody with permissions of their own or a ban.
async fn read(room: &Room) -> Result<Known, Failure> {
    let mut known = Known::new();
    let options = ListOptions::limit(PAGE);
    let mut page = room.recent(options).await.map_err(failed)?;
    let mut searched = 0;
    while let Some(oldest) = page.iter().map(|message| message.id).min() {
        searched += page.len();
        let is_last = page.len() < PAGE as usize;
        for message in page {
            note(&mut known, &message);
        }
        if is_last || searched >= SEARCHED {
            break;
        }
        page = room.before(oldest, options).await.map_err(failed)?;
    }
    let info = room.info().await.map_err(failed)?;
    let mut others = Vec::new();
    for list in [
        info.admins,
        info.moderators,
        info.hidden_admins,
        info.hidden_moderators,
    ] {
        others.extend(list);
    }
    if info.moderator {
        others.extend(room.permissions().await.map_err(failed)?.into_keys());
    }
    for id in others {
        known.entry(id).or_default();
    }
    Ok(known)
}

/// Notes the author of a message; messages come newest first. Nobody else can give an author a name.
fn note(known: &mut Known, message: &Message) {
    let name = known.entry(message.author).or_default();
    if name.is_none()
        && let Ok(content) = message.content()
    {
        *name = content.display_name().map(str::to_owned);
    }
}
