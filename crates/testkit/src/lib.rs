//! Real servers and misbehaving fakes for the tests.
