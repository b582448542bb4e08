//! The examples of the README run, with the servers of the test in place of the ones they name.

mod support;

use ackpost_testkit::Prosody;
use support::community::Community;
use support::{Program, SEED};

#[test]
fn the_examples_of_the_readme_run() {
    let readme = std::fs::read_to_string(support::root().join("README.md")).expect("the README");
    let community = Community::start("lobby");
    let prosody = Prosody::shared();
    let here = |script: &str| {
        script
            .replace(
                "sessions://SERVERKEY:SEED@open.example.org",
                &community.server_url(),
            )
            .replace(
                "bot:password@example.org/jane",
                &format!("alice:alicepass@localhost:{}/bob?verify=no", prosody.port),
            )
            .replace(
                "bot:{env:XMPP_PASSWORD}@example.org/jane",
                &format!(
                    "alice:{{env:XMPP_PASSWORD}}@localhost:{}/bob?verify=no",
                    prosody.port
                ),
            )
            .replace(
                "bot:password@example.org/#ops@rooms.example.org",
                &format!(
                    "alice:alicepass@localhost:{}/#open@conference.localhost?verify=no",
                    prosody.port
                ),
            )
            .replace("XMPP_PASSWORD=password", "XMPP_PASSWORD=alicepass")
    };
    let examples: Vec<String> = readme
        .split("```sh\n")
        .skip(1)
        .map(|rest| here(rest.split("```").next().expect("the block ends")))
        .collect();
    assert_eq!(examples.len(), 5);
    let program = Program::new();
    for example in &examples {
        assert!(
            !example.contains("example.org"),
            "nobody stands in for a server of {example}"
        );
        let ran = program.shell(example);
        assert_eq!(ran.code, 0, "{example}\n{}", ran.all());
        assert!(!ran.all().contains(SEED), "{example}");
    }
}
