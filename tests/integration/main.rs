//! All integration tests, one module per topic.

mod reroot;
