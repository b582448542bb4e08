//! All rules of a server at one moment, compiled.

use std::collections::HashMap;
use std::sync::Arc;

use crate::model::filter::CompiledFilter;
use crate::model::rules::{Limits, Rules};
use crate::store::operation::RaidRow;
use crate::store::{DynStore, Id, StoreResult};

/// The rules of one room, with those of the server behind them.
#[derive(Debug)]
pub struct RoomBook {
    /// Rules that are set for the room, or else for the server.
    pub rules: Rules,
    /// The limits these rules mean.
    pub limits: Arc<Limits>,
    /// Filters of every room and of this one, by number.
    pub filters: Vec<Arc<CompiledFilter>>,
    /// Raid mode of this room.
    pub raid: Option<RaidRow>,
}

impl RoomBook {
    fn new(rules: Rules, filters: Vec<Arc<CompiledFilter>>, raid: Option<RaidRow>) -> Self {
        Self {
            limits: Arc::new(rules.limits()),
            rules,
            filters,
            raid,
        }
    }

    pub(super) fn watches_raids(&self) -> bool {
        self.rules.raid_new_users.unwrap_or(0) > 0 || self.rules.raid_posts.unwrap_or(0) > 0
    }

    pub(super) fn has_gates(&self) -> bool {
        self.rules.member_age_seconds.is_some() || self.rules.approve_first.is_some()
    }
}

/// The rules of all rooms.
#[derive(Debug)]
pub struct RuleSet {
    /// Rules that are set for the whole server.
    pub server: Rules,
    /// Raid mode of the whole server.
    pub raid_everywhere: Option<RaidRow>,
    /// Rooms that have something of their own.
    rooms: HashMap<Id, RoomBook>,
    others: RoomBook,
}

impl RuleSet {
    /// Reads and compiles everything. A stored filter or rule that this version does not understand is
    /// left out with a warning: one bad row must not take the others out of force.
    pub async fn load(store: &DynStore) -> StoreResult<Self> {
        let mut own: HashMap<Id, Rules> = HashMap::new();
        for (room, name, value) in store.settings().await? {
            if let Err(error) = own.entry(room).or_default().set(&name, Some(&value)) {
                tracing::warn!(room, %error, "a stored rule is ignored");
            }
        }
        let mut filters = Vec::new();
        for filter in store.filters().await? {
            match CompiledFilter::compile(&filter) {
                Ok(compiled) => filters.push((filter.room, Arc::new(compiled))),
                Err(error) => tracing::warn!(filter = filter.id, %error, "a stored filter is ignored"),
            }
        }
        let mut raids: HashMap<Id, RaidRow> = store
            .raids()
            .await?
            .into_iter()
            .map(|raid| (raid.room_id, raid))
            .collect();
        let server = own.remove(&0).unwrap_or_default();
        let mut names: Vec<Id> = own
            .keys()
            .copied()
            .chain(filters.iter().filter_map(|(room, _)| *room))
            .chain(raids.keys().copied())
            .collect();
        names.sort_unstable();
        names.dedup();
        let raid_everywhere = raids.remove(&0);
        let rooms = names
            .into_iter()
            .filter(|room| *room != 0)
            .map(|room| {
                let rules = own.remove(&room).unwrap_or_default().over(&server);
                let applying = filters
                    .iter()
                    .filter(|(of, _)| of.is_none_or(|of| of == room))
                    .map(|(_, filter)| Arc::clone(filter));
                (
                    room,
                    RoomBook::new(rules, applying.collect(), raids.remove(&room)),
                )
            })
            .collect();
        let everywhere = filters
            .iter()
            .filter(|(of, _)| of.is_none())
            .map(|(_, filter)| Arc::clone(filter))
            .collect();
        let others = RoomBook::new(server.clone(), everywhere, None);
        Ok(Self {
            server,
            raid_everywhere,
            rooms,
            others,
        })
    }

    /// The rules that hold in a room.
    pub fn room(&self, room_id: Id) -> &RoomBook {
        self.rooms.get(&room_id).unwrap_or(&self.others)
    }

    /// Rooms whose old messages are removed: room id and days; the second value applies to all rooms not named.
    pub fn retention(&self) -> (HashMap<Id, f64>, f64) {
        let days = |rules: &Rules| rules.retention_days.unwrap_or(0.0);
        (
            self.rooms
                .iter()
                .map(|(id, room)| (*id, days(&room.rules)))
                .collect(),
            days(&self.server),
        )
    }
}
