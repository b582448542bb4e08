//! Dispatcher of operations.

use super::context::{Admin, Done, OperationContext};
use super::operation::{AdminError, AdminRequest, Answer, Operation};
use super::socket::RequestHandler;
use super::{archive, bans, log, messages, moderation, people, rooms, rules, sweep, undo_many, upkeep};
use crate::clock::unix_now;
use crate::model::verdict::Verdict;
use crate::store::operation::LogQuery;

impl RequestHandler for Admin {
    async fn answer(&self, request: AdminRequest) -> Done {
        self.perform(request).await
    }
}

impl Admin {
    /// Does one operation.
    pub(crate) async fn perform(&self, request: AdminRequest) -> Done {
        let name: String = request
            .actor
            .chars()
            .filter(|c| !c.is_control())
            .take(64)
            .collect();
        let actor = if name.is_empty() {
            "operator".to_owned()
        } else {
            format!("operator:{name}")
        };
        let act = OperationContext {
            admin: self,
            actor,
            dry_run: request.dry_run,
            now: unix_now(),
        };
        act.run(request.operation).await
    }
}

impl OperationContext<'_> {
    #[expect(clippy::too_many_lines, reason = "one line for each operation")]
    async fn run(&self, operation: Operation) -> Done {
        match operation {
            Operation::Status => self.status().await,
            Operation::Reload => self.reload().await,
            Operation::RoomList => rooms::list(self).await,
            Operation::RoomShow { room } => rooms::show(self, &room).await,
            Operation::RoomAdd {
                room,
                name,
                description,
                permissions,
            } => rooms::add(self, room, name, description, permissions).await,
            Operation::RoomEdit {
                room,
                name,
                description,
                permissions,
                image,
            } => {
                rooms::edit(
                    self,
                    &room,
                    rooms::Edit {
                        name,
                        description,
                        permissions,
                        image,
                    },
                )
                .await
            }
            Operation::RoomEditEvery { permissions } => upkeep::edit_every(self, permissions).await,
            Operation::MessagePin { room, id } => upkeep::pin(self, &room, id).await,
            Operation::MessageUnpin { room, id } => upkeep::unpin(self, &room, id).await,
            Operation::FileKeep { place } => upkeep::keep_files(self, &place).await,
            Operation::RoomDelete { room } => rooms::delete(self, &room).await,
            Operation::UserList {
                room,
                limit,
                since,
                until,
                name,
            } => people::list(self, room.as_deref(), limit, (since, until), name.as_deref()).await,
            Operation::UserShow { user } => people::show(self, &user).await,
            Operation::UserPermissions {
                user,
                room,
                permissions,
                clear,
            } => people::permissions(self, &user, &room, permissions, clear).await,
            Operation::ModList => people::mods(self).await,
            Operation::ModAdd {
                user,
                place,
                admin,
                visible,
            } => people::mod_add(self, &user, &place, admin, visible).await,
            Operation::ModRemove { user, place } => people::mod_remove(self, &user, &place).await,
            Operation::BanList => bans::bans(self).await,
            Operation::BanAdd {
                user,
                place,
                seconds,
                delete_posts,
            } => bans::ban(self, &user, &place, seconds, delete_posts).await,
            Operation::BanRemove { user, place } => people::unban(self, &user, &place).await,
            Operation::MessageList {
                room,
                limit,
                before,
                user,
                since,
                until,
                ids,
            } => {
                let chosen = messages::Chosen {
                    since,
                    until,
                    ids,
                    before,
                };
                messages::list(self, &room, limit, chosen, user.as_deref()).await
            }
            Operation::MessageDelete { room, ids, ranges } => {
                messages::delete(self, &room, ids, &ranges).await
            }
            Operation::MessageDeleteAll {
                user,
                place,
                reactions,
                since,
                until,
            } => messages::delete_all(self, &user, &place, reactions, (since, until)).await,
            Operation::MessageDeleteContaining {
                place,
                text,
                since,
                until,
            } => messages::delete_containing(self, &place, &text, (since, until)).await,
            Operation::HeldList { room } => messages::held(self, room.as_deref()).await,
            Operation::HeldApprove { id } => messages::decide(self, id, Verdict::Approve).await,
            Operation::HeldReject { id } => messages::decide(self, id, Verdict::Reject).await,
            Operation::ModerationOn { room } => moderation::on(self, &room).await,
            Operation::ModerationOff => moderation::off(self).await,
            Operation::ModerationStatus => moderation::status(self).await,
            Operation::FileList { room, limit } => messages::files(self, &room, limit).await,
            Operation::FileDelete { id } => messages::file_delete(self, id).await,
            Operation::FilterList => rules::filters(self).await,
            Operation::FilterAdd {
                room,
                kind,
                pattern,
                action,
                reply,
            } => rules::filter_add(self, room.as_deref(), kind, pattern, action, reply).await,
            Operation::FilterRemove { id } => rules::filter_remove(self, id).await,
            Operation::FilterTest { room, text } => rules::filter_test(self, room.as_deref(), text).await,
            Operation::SettingList { room } => rules::settings(self, room.as_deref()).await,
            Operation::SettingSet { room, name, value } => {
                rules::setting_set(self, room.as_deref(), &name, value).await
            }
            Operation::RaidList => rules::raids(self).await,
            Operation::RaidOn {
                room,
                seconds,
                reach_back,
            } => rules::raid_on(self, room.as_deref(), seconds, reach_back).await,
            Operation::RaidSweep {
                room,
                since,
                until,
                ban,
                seconds,
            } => {
                let wave = sweep::Wave {
                    since,
                    until,
                    ban,
                    seconds,
                };
                sweep::sweep(self, room.as_deref(), wave).await
            }
            Operation::RaidOff { room } => rules::raid_off(self, room.as_deref()).await,
            Operation::LogList {
                limit,
                room,
                actor,
                target,
                since,
                until,
            } => {
                let query = LogQuery {
                    room,
                    since,
                    until,
                    limit: i64::from(limit.min(100_000)),
                    ..LogQuery::default()
                };
                log::list(self, query, actor.as_deref(), target.as_deref()).await
            }
            Operation::Undo { id } => super::undo::undo(self, id).await,
            Operation::UndoMany {
                ranges,
                actor,
                room,
                since,
                until,
            } => {
                let query = LogQuery {
                    room,
                    since,
                    until,
                    ..LogQuery::default()
                };
                undo_many::undo(self, &ranges, query, actor.as_deref()).await
            }
            Operation::Backup { to } => archive::backup(self, &to).await,
        }
    }

    async fn status(&self) -> Done {
        let totals = self.admin.store.totals().await?;
        let running = self.admin.live.as_ref().map(|live| live.status());
        let raids = self
            .admin
            .store
            .raids()
            .await?
            .into_iter()
            .filter(|raid| raid.raid.is_on(self.now))
            .count();
        let mut lines = vec![
            if running.is_some() {
                "the server is running".to_owned()
            } else {
                "the server is stopped".to_owned()
            },
            format!("address     {}", self.admin.base_url()),
            format!("public key  {}", self.admin.key),
            format!("rooms       {}", totals.rooms),
            format!("people      {}", totals.users),
            format!("messages    {}", totals.messages),
            format!("files       {} ({} bytes)", totals.files, totals.file_bytes),
            format!(
                "waiting     {} direct messages, {} posts to approve",
                totals.direct_messages, totals.held
            ),
        ];
        if raids > 0 {
            lines.push(format!(
                "raid mode   on in {raids} places; see `ackpost server raid status`"
            ));
        }
        let data = serde_json::json!({
            "running": running.is_some(),
            "base_url": self.admin.base_url(),
            "public_key": self.admin.key.to_string(),
            "totals": totals,
            "raids": raids,
            "process": running,
        });
        Ok(Answer::show(data, lines))
    }

    async fn reload(&self) -> Done {
        let Some(live) = &self.admin.live else {
            return Err(AdminError::conflict(
                "the server is stopped, so it cannot reload",
                "it reads its configuration when it starts",
            ));
        };
        let lines = live.reload(self.dry_run).await?;
        let changed = serde_json::json!({ "changed": lines });
        let shown = if lines.is_empty() {
            vec!["the configuration was read again; nothing changed".to_owned()]
        } else {
            lines
        };
        Ok(Answer::show(changed, shown))
    }
}
