//! FB-2: a certificate is checked without its sender.

use crate::cluster::chain_of;
use crate::forge;
use polity_consensus::fbpbft::{Chain, Value, VoteCertificate, VoteKind};
use polity_crypto::stub::{StubSigner, StubVerifier};
use polity_crypto::{Checker, Sha256Digest, Signer, Verified};
use polity_types::wire;
use rstest::rstest;

fn chain(members: u64) -> Chain {
    chain_of((0..members).map(|n| StubSigner::new(n).public_key().clone()))
}

fn holds(chain: &Chain, certificate: VoteCertificate) -> bool {
    let mut checker = Checker::new(StubVerifier, 64);
    Verified::check(certificate, chain, &mut checker).is_ok()
}

fn value() -> Value {
    Value::of_block(Sha256Digest::new([5; 32]))
}

#[rstest]
#[case::quorum_of_four(4, &[0, 1, 2], true)]
#[case::all_of_four(4, &[0, 1, 2, 3], true)]
#[case::two_of_four(4, &[1, 3], false)]
#[case::nobody(4, &[], false)]
// FB-1: `2F + 1` would be three here, and two such sets may share only the faulty one.
#[case::three_of_six(6, &[0, 1, 2], false)]
#[case::four_of_six(6, &[0, 1, 2, 5], true)]
#[case::bitmap_of_two_bytes(10, &[0, 1, 2, 3, 4, 8, 9], true)]
#[case::six_of_ten(10, &[0, 1, 2, 3, 4, 9], false)]
fn fb_2_needs_the_weight_of_a_quorum(
    #[case] members: u64,
    #[case] signers: &[u32],
    #[case] expected: bool,
) {
    let chain = chain(members);
    let certificate = forge::certificate(&chain, VoteKind::Commit, (1, 0), value(), signers);
    assert_eq!(holds(&chain, certificate), expected);
}

/// Every single change of one bit makes it invalid, in whichever field.
#[test]
fn fb_2_any_changed_bit_is_refused() {
    let chain = chain(4);
    let certificate = forge::certificate(&chain, VoteKind::Commit, (1, 0), value(), &[0, 1, 2]);
    let bytes = wire::encode(&certificate);
    let mut read = 0;
    for position in 0..bytes.len() * 8 {
        let mut changed = bytes.clone();
        changed[position / 8] ^= 1 << (position % 8);
        if let Ok(certificate) = wire::decode::<VoteCertificate>(&changed, bytes.len()) {
            read += 1;
            assert!(!holds(&chain, certificate), "bit {position}");
        }
    }
    assert!(read > 1_000, "only {read} changes reached the check");
}

#[rstest]
#[case::view(|c: &mut VoteCertificate| c.view = c.view.next())]
#[case::height(|c: &mut VoteCertificate| c.height = c.height.next())]
#[case::kind(|c: &mut VoteCertificate| c.kind = VoteKind::Prepare)]
#[case::digest(|c: &mut VoteCertificate| c.value.digest = Sha256Digest::ZERO)]
#[case::new_view_in_commit(|c: &mut VoteCertificate| c.value.new_view = Sha256Digest::new([1; 32]))]
#[case::swapped(|c: &mut VoteCertificate| c.votes.signatures.rotate_left(64))]
#[case::truncated(|c: &mut VoteCertificate| { c.votes.signatures.pop(); })]
#[case::extended(|c: &mut VoteCertificate| c.votes.signatures.push(0))]
#[case::empty(|c: &mut VoteCertificate| c.votes.signatures.clear())]
fn fb_2_a_changed_field_is_refused(#[case] change: fn(&mut VoteCertificate)) {
    let chain = chain(4);
    let mut certificate = forge::certificate(&chain, VoteKind::Commit, (1, 0), value(), &[0, 1, 2]);
    assert!(holds(&chain, certificate.clone()));
    change(&mut certificate);
    assert!(!holds(&chain, certificate));
}

#[test]
fn w12_votes_of_another_chain_are_refused() {
    let ours = chain(4);
    // Another committee is another chain: its digest is under every vote.
    let theirs = chain(5);
    let certificate = forge::certificate(&theirs, VoteKind::Commit, (1, 0), value(), &[0, 1, 2, 3]);
    assert!(!holds(&ours, certificate));
}
