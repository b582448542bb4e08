//! Sends one message to a person and prints what proves its delivery:
//!
//! ```text
//! XMPP_PASSWORD=secret cargo run --example send -- bot@example.org jane@example.org "hello"
//! ```
//!
//! `XMPP_SERVER=127.0.0.1:5222` connects there without TLS, for a server on this machine.

#![expect(clippy::print_stdout, reason = "a program for a terminal")]

use ackpost_xmpp::{Account, Mode};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(from), Some(to), Some(text)) = (arguments.next(), arguments.next(), arguments.next()) else {
        return Err("give the own address, the address of the recipient, and a text".into());
    };
    let mut account = Account::new(from.parse()?, std::env::var("XMPP_PASSWORD")?.into());
    if let Ok(server) = std::env::var("XMPP_SERVER") {
        let (host, port) = server.rsplit_once(':').ok_or("XMPP_SERVER must be HOST:PORT")?;
        account = account.host(host).port(port.parse()?).mode(Mode::None);
    }
    let proof = account.send(to.parse()?, text).await?;
    println!("delivered, confirmed by {}, id {}", proof.confirmed_by, proof.id);
    Ok(())
}
