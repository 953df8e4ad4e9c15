//! Four replicas agree in memory; one of them is then switched off, and the others go on.
//!
//! `cargo run -p polity-consensus --example four_replicas`

#[path = "../support/cluster.rs"]
mod cluster;

use cluster::Cluster;
use polity_consensus::fbpbft::Config;
use polity_crypto::ed25519::{Ed25519Signer, Ed25519Verifier};
use polity_crypto::{PublicKey, Signer};

fn main() {
    let signers: Vec<Ed25519Signer> = (1..=4)
        .map(|number| Ed25519Signer::from_seed(&[number; 32]))
        .collect();
    let keys: Vec<PublicKey> = signers.iter().map(|s| s.public_key().clone()).collect();
    let verifier = || Ed25519Verifier::with_keys(&keys);
    let mut cluster = Cluster::new(signers, verifier, Config::default());

    while cluster.nodes.iter().any(|node| node.decided.len() < 3) {
        cluster.settle_some(1);
    }
    println!("three blocks with {} messages", cluster.sent);

    // Replica 2 stops. When its turn to lead comes, the view changes and the next one leads.
    cluster.nodes[2].is_down = true;
    let up = [0, 1, 3];
    while up.iter().any(|id| cluster.nodes[*id].decided.len() < 8) {
        cluster.settle_some(1_000);
        if cluster.network.is_empty() {
            cluster.advance();
        }
    }
    for (block, certificate) in &cluster.nodes[0].decided {
        println!(
            "height {:>2}  view {}  proposer {}  {}",
            block.header().height,
            certificate.view,
            block.header().proposer,
            block.digest()
        );
    }
}
