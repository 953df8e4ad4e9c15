//! FB-PBFT through its public interface.

mod byzantine;
mod catch_up;
mod certificates;
#[path = "../../support/cluster.rs"]
mod cluster;
mod evidence;
mod findings;
mod forge;
mod intake;
mod normal_case;
mod restore;
mod silence;
mod small_committees;
mod view_changes;
