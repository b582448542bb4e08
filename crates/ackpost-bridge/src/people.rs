//! The people of the XMPP room as members of the community, each under their own identity (`people = "each"`).

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, PoisonError, RwLock};

use session_protocol::auth::Signer;
use session_protocol::keys::Identity;
use sha2::{Digest as _, Sha256};
use sogs_client::{Room, SessionId};

use crate::store::{Store, StoreError};

/// Mark of an author who is known by the permanent id of the room.
pub(crate) const OCCUPANT: &str = "occupant:";
/// Maximum number of people whose connections are kept; those of the others are made again.
const ROOMS_MAX: usize = 1_000;
/// Maximum number of people who get an identity. Those who come later speak through the identity of the bridge.
const PEOPLE_MAX: usize = 30_000;
/// Ids of one identity.
const IDS: usize = 3;
/// Text that the identity of the bridge signs.
///
/// The signature is the secret from which the identities of people are derived.
const LABEL: &[u8] = b"ackpost bridge: the identities of people";

/// The identities of people.
pub(crate) struct People {
    bridge: String,
    /// The room as the bridge itself sees it.
    room: Room,
    /// `None`: everybody speaks through the identity of the bridge.
    secret: Option<[u8; 32]>,
    ids: RwLock<HashSet<SessionId>>,
    rooms: Mutex<HashMap<String, Room>>,
}

impl People {
    /// Reads the ids under which people spoke before: they are ours in either mode.
    pub(crate) async fn load(
        store: &Store,
        bridge: &str,
        room: &Room,
        each: bool,
    ) -> Result<Self, StoreError> {
        let ids = store.people(bridge).await?;
        let secret = room.server().identity().filter(|_| each).map(|identity| {
            let mut hash = Sha256::new();
            hash.update(LABEL);
            hash.update(Signer::account(identity).sign_message(LABEL));
            hash.finalize().into()
        });
        Ok(Self {
            bridge: bridge.to_owned(),
            room: room.clone(),
            secret,
            ids: RwLock::new(ids.iter().filter_map(|id| id.parse().ok()).collect()),
            rooms: Mutex::default(),
        })
    }

    /// Returns true for an id of a person of the XMPP room.
    pub(crate) fn is_one(&self, id: &SessionId) -> bool {
        self.ids
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .contains(id)
    }

    /// The room as its author sees it; `None` if they speak through the identity of the bridge: nothing but a permanent
    /// id (XEP-0421) proves that it is always the same person.
    pub(crate) async fn room_of(&self, store: &Store, author: &str) -> Result<Option<Room>, StoreError> {
        let (Some(secret), Some(occupant)) = (&self.secret, author.strip_prefix(OCCUPANT)) else {
            return Ok(None);
        };
        if let Some(room) = self.rooms().get(occupant) {
            return Ok(Some(room.clone()));
        }
        let server = self.room.server();
        let token = self.room.token();
        let mut hash = Sha256::new();
        hash.update(secret);
        for part in [
            server.key().to_string().as_bytes(),
            token.to_string().as_bytes(),
            occupant.as_bytes(),
        ] {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        let identity = Identity::from_seed(hash.finalize().into());
        let key = server.key();
        let ids = [
            identity.session_id(),
            identity.blind15(&key).id(),
            identity.blind25(&key).id(),
        ];
        if self.is_full(&ids) {
            return Ok(None);
        }
        // Known before anything is posted under them: what comes back is recognised.
        store
            .add_people(&self.bridge, &ids.map(|id| id.to_string()))
            .await?;
        self.ids
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .extend(ids);
        let room = server.as_identity(identity).room(token);
        let mut rooms = self.rooms();
        if rooms.len() >= ROOMS_MAX {
            rooms.clear();
        }
        rooms.insert(occupant.to_owned(), room.clone());
        Ok(Some(room))
    }

    /// Returns true if these ids would be too many: nobody must fill the memory by entering under many accounts.
    fn is_full(&self, ids: &[SessionId; IDS]) -> bool {
        let known = self.ids.read().unwrap_or_else(PoisonError::into_inner);
        known.len() >= IDS * PEOPLE_MAX && !known.contains(&ids[0])
    }

    fn rooms(&self) -> std::sync::MutexGuard<'_, HashMap<String, Room>> {
        self.rooms.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
