//! FB-PBFT through its public interface.

#[path = "../../support/cluster.rs"]
mod cluster;
mod normal_case;
