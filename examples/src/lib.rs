//! What the example topologies share.
