//! Who may do what in a room: the room's defaults, a person's overrides, and the ranks above both.

/// Rights of everybody in a room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "independent rights")]
pub struct Defaults {
    /// May fetch messages.
    pub read: bool,
    /// May see that the room exists when `read` is off.
    pub accessible: bool,
    /// May post.
    pub write: bool,
    /// May upload files.
    pub upload: bool,
}

/// Standing of a person on the whole server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Standing {
    /// Banned from the whole server.
    pub banned: bool,
    /// Moderates every room.
    pub moderator: bool,
    /// Administers every room.
    pub admin: bool,
}

/// Exceptions for one person in one room; `None` is the default of the room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Override {
    /// Banned from the room.
    pub banned: bool,
    /// May fetch messages.
    pub read: Option<bool>,
    /// May see that the room exists.
    pub accessible: Option<bool>,
    /// May post.
    pub write: Option<bool>,
    /// May upload files.
    pub upload: Option<bool>,
    /// Moderates the room.
    pub moderator: bool,
    /// Administers the room.
    pub admin: bool,
}

/// What somebody may do in one room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[expect(clippy::struct_excessive_bools, reason = "independent rights")]
pub struct Rights {
    /// Banned from the room or the server.
    pub banned: bool,
    /// May fetch messages.
    pub read: bool,
    /// May see the room although not read it.
    pub accessible: bool,
    /// May post.
    pub write: bool,
    /// May upload (which needs `write` too).
    pub upload: bool,
    /// May post by an explicit permission of their own: exempt from raid mode, minimum age and `approve_first`.
    pub trusted: bool,
    /// Moderates the room, by whatever appointment.
    pub moderator: bool,
    /// Administers the room, by whatever appointment.
    pub admin: bool,
    /// Moderates the whole server.
    pub global_moderator: bool,
    /// Administers the whole server.
    pub global_admin: bool,
}

impl Rights {
    /// Whether the room exists for this person.
    pub fn visible(&self) -> bool {
        self.read || self.accessible
    }

    /// The rights in the moderators' room: moderators of this room or of the server have theirs, moderators of other
    /// rooms read and write, and it does not exist for anybody else, whatever defaults and permissions say.
    pub fn in_moderators_room(self, moderates_some_room: bool) -> Self {
        if self.banned || self.moderator {
            return self;
        }
        Self {
            read: moderates_some_room,
            accessible: moderates_some_room,
            write: moderates_some_room,
            trusted: moderates_some_room,
            ..Self::default()
        }
    }
}

/// The rights of a person in a room; `None` is somebody without authentication.
///
/// A ban beats everything, moderators may do everything, then the person's override counts, then the default.
pub fn rights(defaults: Defaults, user: Option<Standing>, own: Option<Override>) -> Rights {
    let Some(user) = user else {
        return Rights {
            read: defaults.read,
            accessible: defaults.accessible,
            write: defaults.write,
            upload: defaults.upload && defaults.write,
            ..Rights::default()
        };
    };
    if user.banned || own.is_some_and(|own| own.banned) {
        return Rights {
            banned: true,
            ..Rights::default()
        };
    }
    let admin = user.admin || own.is_some_and(|own| own.admin);
    let moderator = admin || user.moderator || own.is_some_and(|own| own.moderator);
    let pick = |value: Option<bool>, default: bool| moderator || value.unwrap_or(default);
    let write = pick(own.and_then(|own| own.write), defaults.write);
    Rights {
        banned: false,
        read: pick(own.and_then(|own| own.read), defaults.read),
        accessible: pick(own.and_then(|own| own.accessible), defaults.accessible),
        write,
        upload: write && pick(own.and_then(|own| own.upload), defaults.upload),
        trusted: own.is_some_and(|own| own.write == Some(true)),
        moderator,
        admin,
        global_moderator: user.moderator || user.admin,
        global_admin: user.admin,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPEN: Defaults = Defaults {
        read: true,
        accessible: true,
        write: true,
        upload: true,
    };
    const CLOSED: Defaults = Defaults {
        read: false,
        accessible: false,
        write: false,
        upload: true,
    };

    #[test]
    fn nobody_but_moderators_is_let_into_the_moderators_room() {
        let open = rights(OPEN, None, None);
        assert!(!open.in_moderators_room(false).visible() && !open.in_moderators_room(false).write);
        let member = rights(OPEN, Some(Standing::default()), None);
        let of_another_room = member.in_moderators_room(true);
        assert!(of_another_room.read && of_another_room.write && !of_another_room.moderator);
        assert!(!of_another_room.upload);
        let standing = Standing {
            banned: true,
            ..Standing::default()
        };
        let banned = rights(OPEN, Some(standing), None);
        assert!(!banned.in_moderators_room(true).visible());
    }

    #[test]
    fn somebody_unknown_has_the_defaults_and_uploads_only_with_write() {
        let rights = rights(CLOSED, None, None);
        assert!(!rights.visible() && !rights.write && !rights.upload);
    }

    #[test]
    fn a_ban_beats_everything() {
        let banned = rights(
            OPEN,
            Some(Standing::default()),
            Some(Override {
                banned: true,
                ..Override::default()
            }),
        );
        assert!(banned.banned && !banned.read && !banned.accessible && !banned.write);
        assert!(
            rights(
                OPEN,
                Some(Standing {
                    banned: true,
                    ..Standing::default()
                }),
                None
            )
            .banned
        );
    }

    #[test]
    fn moderators_may_everything_and_admins_are_moderators() {
        let room_mod = rights(
            CLOSED,
            Some(Standing::default()),
            Some(Override {
                moderator: true,
                write: Some(false),
                ..Override::default()
            }),
        );
        assert!(room_mod.read && room_mod.write && room_mod.upload && room_mod.moderator && !room_mod.admin);
        let admin = rights(
            CLOSED,
            Some(Standing {
                admin: true,
                ..Standing::default()
            }),
            None,
        );
        assert!(
            admin.admin && admin.moderator && admin.global_admin && admin.global_moderator && admin.upload
        );
    }

    #[test]
    fn an_override_wins_over_the_default() {
        let writer = rights(
            CLOSED,
            Some(Standing::default()),
            Some(Override {
                write: Some(true),
                ..Override::default()
            }),
        );
        assert!(writer.write && writer.upload && !writer.read && writer.trusted);
        let muted = rights(
            OPEN,
            Some(Standing::default()),
            Some(Override {
                write: Some(false),
                ..Override::default()
            }),
        );
        assert!(muted.read && !muted.write && !muted.upload && !muted.trusted);
    }
}
