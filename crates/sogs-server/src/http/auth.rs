//! Authentication: the four headers become a verified user, or one row of the table of refusals.

use std::sync::Arc;

use http::HeaderMap;
use session_protocol::auth::{self, AuthError, RawHeaders, Request, Unverified, Verified};

use super::reply::Refusal;
use super::request::{Body, Req};
use crate::app::App;
use crate::cache::User;
use crate::clock::unix_now;
use crate::nonce::NonceCheck;
use crate::store::NonceRow;

/// A user whose signature was checked. There is no other way to get one.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    pub(crate) user: Arc<User>,
    /// Nonce that this request used up.
    pub(crate) nonce: NonceRow,
}

const FORGED: &str = "Invalid authentication: X-SOGS-Pubkey is a key of this account under a prefix that is not its own; \
                      use the 15- prefixed id that the Session protocol derives for this server";

const NONCE_REUSED: &str = "Invalid authentication: X-SOGS-Nonce cannot be reused";

fn refusal(error: AuthError) -> Refusal {
    let status = match error {
        AuthError::TimestampTooFar => 425,
        AuthError::SignatureMismatch => 401,
        _ => 400,
    };
    Refusal::text(status, error.to_string())
}

fn raw(headers: &HeaderMap) -> RawHeaders<'_> {
    let get = |name: &str| {
        headers
            .get(name)
            .map(|value| value.to_str().unwrap_or("\u{fffd}"))
    };
    RawHeaders {
        pubkey: get(auth::PUBKEY_HEADER),
        nonce: get(auth::NONCE_HEADER),
        timestamp: get(auth::TIMESTAMP_HEADER),
        signature: get(auth::SIGNATURE_HEADER),
    }
}

/// Makes the checks that need no body: all except the signature.
pub(crate) async fn claim(app: &App, headers: &HeaderMap) -> Result<Option<Unverified>, Refusal> {
    let now = whole(unix_now());
    let require = app.config().users.require_blind_keys;
    let parsed = Unverified::parse_with(raw(headers), require, now.unsigned_abs(), |id| {
        app.was_verified(id)
    });
    let Some(claim) = parsed.map_err(refusal)? else {
        return Ok(None);
    };
    // The server refuses a banned person before it spends time on the signature.
    let known = app.user(&claim.claimed_id()).await?;
    if let Some(user) = known.filter(|user| user.row.banned) {
        return Err(banned(app, &user).await?);
    }
    let stamp = i64::try_from(claim.timestamp()).unwrap_or(i64::MAX);
    match app.nonces.peek(claim.nonce(), stamp, now) {
        NonceCheck::New => {}
        NonceCheck::Used => return Err(Refusal::text(425, NONCE_REUSED)),
        NonceCheck::TooFar => return Err(refusal(AuthError::TimestampTooFar)),
    }
    if app.may_be_former(stamp) && app.store.nonce_used(*claim.nonce()).await? {
        return Err(Refusal::text(425, NONCE_REUSED));
    }
    Ok(Some(claim))
}

/// The whole check of a request.
pub(crate) async fn authenticate(app: &App, req: &Req) -> Result<Option<Caller>, Refusal> {
    let Some(claim) = claim(app, &req.headers).await? else {
        if let Some(nonce_gate) = &app.nonce_gate {
            nonce_gate.pass(None).await?;
        }
        return Ok(None);
    };
    let target = req.signed_target();
    let verified = match &req.body {
        Body::Memory(body) => claim.verify(
            &app.key,
            &Request {
                method: req.method.as_str(),
                path: &target,
                body,
            },
        ),
        Body::Spooled(spooled) => {
            let hash = (spooled.size > 0).then_some(&spooled.auth_hash);
            claim.verify_hashed(&app.key, req.method.as_str(), &target, hash)
        }
    }
    .map_err(refusal)?;
    admit(app, &verified).await.map(Some)
}

/// Uses up the nonce and finds or makes the user.
async fn admit(app: &App, verified: &Verified) -> Result<Caller, Refusal> {
    let now = unix_now();
    let stamp = i64::try_from(verified.timestamp()).unwrap_or(i64::MAX);
    let nonce = NonceRow {
        nonce: *verified.nonce(),
        stamp,
    };
    match app.nonces.take(&nonce.nonce, stamp, whole(now)) {
        NonceCheck::New => {}
        NonceCheck::Used => return Err(Refusal::text(425, NONCE_REUSED)),
        NonceCheck::TooFar => return Err(refusal(AuthError::TimestampTooFar)),
    }
    if let Some(nonce_gate) = &app.nonce_gate
        && !nonce_gate.pass(Some(nonce)).await?
    {
        return Err(Refusal::text(425, NONCE_REUSED));
    }
    app.note_verified(verified.header_id());
    let id = verified.id();
    let Some(user) = app.visitor(&id, now).await? else {
        return Err(Refusal::text(400, FORGED));
    };
    if user.row.banned {
        return Err(banned(app, &user).await?);
    }
    app.activity.see(&user, None, now);
    Ok(Caller { user, nonce })
}

/// Returns the refusal for a person who is banned from the whole server.
pub(crate) async fn banned(app: &App, user: &User) -> Result<Refusal, Refusal> {
    Ok(Refusal::banned(app.store.ban_end(user.row.id, None).await?))
}

#[expect(clippy::cast_possible_truncation, reason = "seconds since 1970 fit")]
fn whole(seconds: f64) -> i64 {
    seconds.floor() as i64
}
