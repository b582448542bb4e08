//! People, and the list of those who may answer alerts.

use std::str::FromStr;

use session_protocol::SessionId;

/// The rank of a person in an XMPP room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Affiliation {
    /// No rank.
    None,
    /// A member.
    Member,
    /// An administrator.
    Admin,
    /// An owner.
    Owner,
}

impl Affiliation {
    /// Reads the word of XEP-0045. Every other word, such as `outcast`, is not a rank.
    pub fn of_word(word: &str) -> Self {
        match word {
            "member" => Self::Member,
            "admin" => Self::Admin,
            "owner" => Self::Owner,
            _ => Self::None,
        }
    }
}

/// The rank of a person in a community.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Role {
    /// No rank.
    #[default]
    Everyone,
    /// A moderator.
    Moderator,
    /// An administrator.
    Admin,
}

/// The author of a gesture, as the network proves it. A displayed name is not a part of it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Person {
    /// An XMPP account.
    Xmpp {
        /// The bare address of the account; `None` if the room hides it.
        jid: Option<String>,
        /// The room, and the rank in it.
        room: Option<(String, Affiliation)>,
    },
    /// A Session account.
    Session {
        /// The id as the author of the message.
        id: SessionId,
        /// The id of the account (`05…`), if it can be computed.
        account: Option<SessionId>,
        /// The rank in the room.
        role: Role,
    },
}

impl Person {
    /// The name for the log and for the alerting program; `None` if the network does not tell who it is.
    pub fn id(&self) -> Option<String> {
        match self {
            Self::Xmpp { jid, .. } => jid.clone(),
            Self::Session { id, account, .. } => Some(account.unwrap_or(*id).to_string()),
        }
    }
}

/// One line of the list.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Rule {
    Xmpp(String),
    XmppAffiliation {
        least: Affiliation,
        room: String,
    },
    Session(SessionId),
    SessionRole(Role),
    /// The person may not, whatever other lines say.
    Not(Who),
}

/// A person who is named by an address.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Who {
    Xmpp(String),
    Session(SessionId),
}

/// The list of those who may answer alerts. An empty list allows nobody.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AllowList(Vec<Rule>);

/// A line of the list that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a person; write xmpp:JID, xmpp-affiliation:member@ROOM, session:05…, session-role:moderator, not:xmpp:JID or not:session:05…"
)]
pub struct AllowError(String);

impl AllowList {
    /// Reads the lines of a configuration.
    ///
    /// # Errors
    /// [`AllowError`] names the line that cannot be read.
    pub fn parse<S: AsRef<str>>(lines: &[S]) -> Result<Self, AllowError> {
        let rules: Result<_, _> = lines.iter().map(|line| line.as_ref().parse()).collect();
        rules.map(Self)
    }

    /// True if nobody is allowed.
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(|rule| matches!(rule, Rule::Not(_)))
    }

    /// The Session accounts (`05…`) that the list names, also those that may not answer.
    pub fn accounts(&self) -> Vec<SessionId> {
        let account = |rule: &Rule| match rule {
            Rule::Session(id) | Rule::Not(Who::Session(id)) => Some(*id),
            _ => None,
        };
        self.0.iter().filter_map(account).collect()
    }

    /// True if a person may answer alerts. Persons without a proven identity never may.
    pub fn permits(&self, person: &Person) -> bool {
        let excluded = self.0.iter().any(|rule| match (rule, person) {
            (Rule::Not(Who::Xmpp(name)), Person::Xmpp { jid, .. }) => Some(name) == jid.as_ref(),
            (Rule::Not(Who::Session(name)), Person::Session { id, account, .. }) => {
                name == id || Some(*name) == *account
            }
            _ => false,
        });
        !excluded
            && self.0.iter().any(|rule| match (rule, person) {
                (Rule::Xmpp(allowed), Person::Xmpp { jid: Some(jid), .. }) => allowed == jid,
                (
                    Rule::XmppAffiliation { least, room },
                    Person::Xmpp {
                        jid: Some(_),
                        room: Some((here, rank)),
                    },
                ) => room == here && rank >= least,
                (Rule::Session(allowed), Person::Session { id, account, .. }) => {
                    allowed == id || Some(*allowed) == *account
                }
                (Rule::SessionRole(least), Person::Session { role, .. }) => role >= least,
                _ => false,
            })
    }
}

impl FromStr for Rule {
    type Err = AllowError;

    fn from_str(line: &str) -> Result<Self, AllowError> {
        let wrong = || AllowError(line.to_owned());
        let (kind, rest) = line.trim().split_once(':').ok_or_else(wrong)?;
        match kind {
            "not" => match rest.parse::<Self>().map_err(|_| wrong())? {
                Self::Xmpp(jid) => Ok(Self::Not(Who::Xmpp(jid))),
                Self::Session(id) => Ok(Self::Not(Who::Session(id))),
                _ => Err(wrong()),
            },
            "xmpp" => bare_jid(rest).map(Self::Xmpp).ok_or_else(wrong),
            "xmpp-affiliation" => {
                let (least, room) = rest.split_once('@').ok_or_else(wrong)?;
                let least = Affiliation::of_word(least);
                if least == Affiliation::None {
                    return Err(wrong());
                }
                let room = bare_jid(room).ok_or_else(wrong)?;
                Ok(Self::XmppAffiliation { least, room })
            }
            "session" => rest.parse().map(Self::Session).map_err(|_| wrong()),
            "session-role" => match rest {
                "moderator" => Ok(Self::SessionRole(Role::Moderator)),
                "admin" => Ok(Self::SessionRole(Role::Admin)),
                _ => Err(wrong()),
            },
            _ => Err(wrong()),
        }
    }
}

/// `local@domain` in lower case.
fn bare_jid(text: &str) -> Option<String> {
    let (local, domain) = text.split_once('@')?;
    let good = !local.is_empty() && !domain.is_empty() && !domain.contains(['@', '/']);
    let blank = text.chars().any(|c| c.is_whitespace() || c.is_control());
    (good && !blank).then(|| text.to_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    const JANE: &str = "jane@example.org";
    const ROOM: &str = "ops@rooms.example.org";

    fn account() -> SessionId {
        format!("05{}", "ab".repeat(32)).parse().expect("an id")
    }

    fn xmpp(jid: Option<&str>, room: Option<(&str, &str)>) -> Person {
        Person::Xmpp {
            jid: jid.map(str::to_owned),
            room: room.map(|(room, word)| (room.to_owned(), Affiliation::of_word(word))),
        }
    }

    fn list(lines: &[&str]) -> AllowList {
        AllowList::parse(lines).expect("a list")
    }

    #[test]
    fn an_account_is_allowed_by_its_real_address_alone() {
        let list = list(&["xmpp:Jane@example.org"]);
        assert!(list.permits(&xmpp(Some(JANE), None)));
        assert!(list.permits(&xmpp(Some(JANE), Some((ROOM, "none")))));
        assert!(
            !list.permits(&xmpp(None, Some((ROOM, "owner")))),
            "a room that hides addresses"
        );
        assert!(!list.permits(&xmpp(Some("jane@evil.example"), None)));
        assert!(!list.permits(&xmpp(Some("mallory@example.org"), Some((ROOM, "owner")))));
    }

    #[test]
    fn a_rank_counts_in_its_room_and_with_a_known_address() {
        let list = list(&["xmpp-affiliation:admin@ops@rooms.example.org"]);
        assert!(list.permits(&xmpp(Some(JANE), Some((ROOM, "admin")))));
        assert!(list.permits(&xmpp(Some(JANE), Some((ROOM, "owner")))));
        assert!(!list.permits(&xmpp(Some(JANE), Some((ROOM, "member")))));
        assert!(!list.permits(&xmpp(Some(JANE), Some((ROOM, "outcast")))));
        assert!(!list.permits(&xmpp(Some(JANE), Some(("other@rooms.example.org", "owner")))));
        assert!(!list.permits(&xmpp(None, Some((ROOM, "owner")))));
    }

    #[test]
    fn a_session_account_is_allowed_by_id_or_rank() {
        let blinded: SessionId = format!("15{}", "cd".repeat(32)).parse().expect("an id");
        let person = |account, role| Person::Session {
            id: blinded,
            account,
            role,
        };
        let by_id = list(&[&format!("session:{}", account())]);
        assert!(by_id.permits(&person(Some(account()), Role::Everyone)));
        assert!(!by_id.permits(&person(None, Role::Admin)));
        let by_rank = list(&["session-role:moderator"]);
        assert!(by_rank.permits(&person(None, Role::Moderator)));
        assert!(by_rank.permits(&person(None, Role::Admin)));
        assert!(!by_rank.permits(&person(None, Role::Everyone)));
        assert!(!list(&["session-role:admin"]).permits(&person(None, Role::Moderator)));
        assert!(!by_rank.permits(&xmpp(Some(JANE), Some((ROOM, "owner")))));
    }

    /// A bridge is a moderator of the community and a member of the room, and shows what strangers react with.
    #[test]
    fn an_excluded_account_is_not_allowed_by_its_rank() {
        let not = format!("not:session:{}", account());
        let all = list(&[
            "session-role:moderator",
            "xmpp-affiliation:member@ops@rooms.example.org",
            &not,
            "not:xmpp:Relay@example.org",
        ]);
        let blinded: SessionId = format!("15{}", "cd".repeat(32)).parse().expect("an id");
        let person = |account| Person::Session {
            id: blinded,
            account,
            role: Role::Admin,
        };
        assert!(!all.permits(&person(Some(account()))));
        assert!(all.permits(&person(None)));
        assert!(!all.permits(&xmpp(Some("relay@example.org"), Some((ROOM, "owner")))));
        assert!(all.permits(&xmpp(Some(JANE), Some((ROOM, "member")))));
        assert_eq!(all.accounts(), [account()], "its blinded ids are recognised");
        assert!(!all.is_empty());
        assert!(list(&[&not]).is_empty(), "excluding somebody allows nobody");
    }

    #[test]
    fn nobody_is_allowed_by_an_empty_or_broken_list() {
        assert!(!AllowList::default().permits(&xmpp(Some(JANE), Some((ROOM, "owner")))));
        for line in [
            "",
            "jane",
            "xmpp:",
            "xmpp:jane",
            "xmpp:@example.org",
            "xmpp:jane@example.org/phone",
            "xmpp-affiliation:none@ops@rooms.example.org",
            "xmpp-affiliation:member",
            "session:05ab",
            "session-role:everyone",
            "nick:jane",
            "not:nick:jane",
            "not:session-role:moderator",
            "not:not:xmpp:jane@example.org",
        ] {
            assert_eq!(
                AllowList::parse(&[line]),
                Err(AllowError(line.to_owned())),
                "{line}"
            );
        }
    }
}
