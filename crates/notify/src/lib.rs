//! Messages, Apprise URLs and configuration, rendering, dispatch and outbox.
