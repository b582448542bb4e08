//! Numbers for `benches/compare-xmpp.sh`: round trips, one-shot sends inside one process, and
//! messages a minute over one kept session.
//!
//! ```text
//! measure HOST PORT starttls|tls JID PASSWORD TARGET once|kept COUNT
//! ```

use std::time::{Duration, Instant};

use ackpost_xmpp::{Account, Content, Jid, Mode, Outcome, Outgoing, Session, SessionOptions, Verify};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [host, port, mode, jid, password, target, what, count] = args.as_slice() else {
        return Err("usage: measure HOST PORT starttls|tls JID PASSWORD TARGET once|kept COUNT".into());
    };
    let mode = if mode == "tls" { Mode::Tls } else { Mode::StartTls };
    let target: Jid = target.parse()?;
    let count: usize = count.parse()?;
    let account = Account::new(jid.parse()?, password.clone().into())
        .host(host)
        .port(port.parse()?)
        .mode(mode)
        .verify(Verify::No)
        .connect_timeout(Duration::from_secs(20))
        .answer_timeout(Duration::from_secs(20));
    let message = |n: usize| Outgoing::new(target.clone(), Content::text(format!("message {n}")));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let started = Instant::now();
        let outcomes = if what == "kept" {
            let (session, _events) = Session::open(&account, SessionOptions::default()).await?;
            let ready = started.elapsed();
            let outcomes = session.send((0..count).map(message).collect()).await;
            report("kept", count, started.elapsed().saturating_sub(ready), &outcomes);
            session.close().await;
            outcomes
        } else {
            let mut outcomes = Vec::new();
            for n in 0..count {
                outcomes.extend(ackpost_xmpp::send(&account, vec![message(n)]).await);
            }
            report("once", count, started.elapsed(), &outcomes);
            outcomes
        };
        match outcomes.iter().find_map(Outcome::error) {
            Some(error) => Err(error.clone().into()),
            None => Ok(()),
        }
    })
}

#[expect(clippy::print_stdout, reason = "the numbers are what this program is for")]
fn report(what: &str, count: usize, took: Duration, outcomes: &[Outcome]) {
    let confirmed = outcomes
        .iter()
        .filter(|outcome| outcome.delivered().is_some())
        .count();
    let seconds = took.as_secs_f64().max(f64::EPSILON);
    println!(
        "{what}: {confirmed} of {count} confirmed in {:.1} ms, {:.2} ms each, {:.0} a minute",
        seconds * 1000.0,
        seconds * 1000.0 / f64::from(u32::try_from(count.max(1)).unwrap_or(u32::MAX)),
        60.0 * f64::from(u32::try_from(confirmed).unwrap_or(u32::MAX)) / seconds
    );
}
