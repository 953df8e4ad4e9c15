//! A client that holds only headers follows the chain, and is not led astray (FB-18).
//!
//! At the end of a run a light client walks over the ends of epochs that a member would serve it, and
//! skips from each epoch to the last one. What it has to believe or refuse is computed from the
//! tables of the model: who signed, and with which key in which table.

use super::Violation;
use super::committees::{Committees, Table};
use crate::federation::Federation;
use crate::keys::{Scheme, SimVerifier};
use polity_consensus::committee::{CommitteeTable, Member};
use polity_consensus::fbpbft::Decided;
use polity_consensus::light::{DecidedHeader, EpochEnd, LightClient, LightError, SkipRules};
use polity_crypto::{Checker, Signer as _};
use polity_types::{Epoch, ReplicaId, Seed, Time, Weight};
use std::sync::Arc;

const NAME: &str = "light client";

/// Plays a light client to the decided blocks of one member.
pub fn follow(
    federation: &Federation,
    committees: &Committees,
    store: &[Decided],
) -> Result<(), Violation> {
    let Some(last) = store.last() else {
        return Ok(());
    };
    let last = header_of(last);
    let checker = &mut Checker::new(federation.verifier.clone(), 0);
    let client = walk(federation, committees, store, checker)?;
    let target = committees.epoch(last.header.height);
    if client.epoch().get() != target || client.time() != last.header.timestamp {
        return fault(format!("it ends in epoch {}", client.epoch()));
    }
    for epoch in 0..target {
        skip(federation, committees, epoch, &last, checker)?;
    }
    skip_by_weight(federation, committees, &last, checker)
}

/// Every end of an epoch is believed as it is, and in no other form.
fn walk(
    federation: &Federation,
    committees: &Committees,
    store: &[Decided],
    checker: &mut Checker<SimVerifier>,
) -> Result<LightClient, Violation> {
    let mut client = LightClient::from_genesis(&federation.chain, federation.genesis.start);
    let ends = committees.tables().iter().enumerate().skip(1);
    for (epoch, next) in ends {
        let place = committees.end_of(epoch as u64 - 1) as usize - 1;
        // The last header itself is checked by the committee before it.
        let before_last = store.len().saturating_sub(1);
        let Some(last) = store[..before_last].get(place).map(header_of) else {
            break;
        };
        let end = EpochEnd {
            last,
            next: next.members(),
        };
        let mut other = end.clone();
        other.next.pop();
        if client.advance(&other, checker).is_ok() {
            return fault(format!("it walks to another committee of epoch {epoch}"));
        }
        let mut uncertain = end.clone();
        if let Some(before) = place.checked_sub(1).map(|place| &store[place]) {
            uncertain.last.certificate = before.certificate.clone();
            if client.advance(&uncertain, checker).is_ok() {
                return fault(format!("it walks to epoch {epoch} without a certificate"));
            }
        }
        if let Err(error) = client.advance(&end, checker) {
            return fault(format!(
                "it refuses the end of epoch {}: {error}",
                epoch - 1
            ));
        }
    }
    let last = store.last().map(header_of);
    match last.map(|last| client.verify(&last, checker)) {
        Some(Err(error)) => fault(format!("it refuses the last header: {error}")),
        Some(Ok(())) | None => Ok(client),
    }
}

/// From one epoch of the chain to the last header.
fn skip(
    federation: &Federation,
    committees: &Committees,
    from: u64,
    last: &DecidedHeader,
    checker: &mut Checker<SimVerifier>,
) -> Result<(), Violation> {
    let (Some(trusted), Some(there)) = (
        committees.tables().get(from as usize),
        committees.table(last.header.height),
    ) else {
        return fault("an epoch that is not decided");
    };
    let needed = trusted.faulty_max();
    let kept = |id: &ReplicaId| {
        let (now, then) = (there.row(*id), trusted.row(*id));
        now.zip(then).is_some_and(|(now, then)| now.key == then.key)
    };
    let found: u64 = signers(last, there)
        .iter()
        .filter(|id| kept(id))
        .map(|id| trusted.weight(*id))
        .sum();
    let expected = if found > needed {
        Ok(())
    } else {
        Err(LightError::TooFewTrusted {
            found: Weight::new(found),
            needed: Weight::new(needed),
        })
    };
    let client = client_of(federation, from, trusted.members())?;
    let rules = SkipRules::default();
    let now = last.header.timestamp;
    let mut prompt = client.clone();
    let came = prompt.skip(now, rules, last, &there.members(), checker);
    if came != expected {
        return fault(format!(
            "skipping from epoch {from} it says {came:?} instead of {expected:?}"
        ));
    }
    let late = federation
        .genesis
        .start
        .saturating_add(rules.trusting_period);
    let late = Time::from_millis(late.as_millis() + 1);
    let came = { client }.skip(late, rules, last, &there.members(), checker);
    if came != Err(LightError::Expired) {
        return fault(format!("skipping too late it says {came:?}"));
    }
    Ok(())
}

/// From a committee in which those who signed the last header weigh as much as may be faulty: too
/// little. One more is enough.
fn skip_by_weight(
    federation: &Federation,
    committees: &Committees,
    last: &DecidedHeader,
    checker: &mut Checker<SimVerifier>,
) -> Result<(), Violation> {
    let epoch = committees.epoch(last.header.height);
    let (Some(there), Some(before)) = (committees.table(last.header.height), epoch.checked_sub(1))
    else {
        return Ok(());
    };
    let signers = signers(last, there);
    let strangers = Seed::from_number(epoch).fork("strangers");
    for (known, is_enough) in [(1, false), (2, true)] {
        if signers.len() < known {
            return Ok(());
        }
        // Four members of weight 1, of whom one may be faulty.
        let mut rows = there.members();
        rows.retain(|row| signers[..known].contains(&row.id));
        let next = rows.len()..4;
        rows.extend(next.map(|place| {
            Member {
                id: ReplicaId::new(1_000 + place as u32),
                key: Scheme::Stub
                    .signer(&strangers, &format!("stranger {place}"))
                    .public_key()
                    .clone(),
                weight: Weight::new(1),
            }
        }));
        for row in &mut rows {
            row.weight = Weight::new(1);
        }
        let mut client = client_of(federation, before, rows)?;
        let now = last.header.timestamp;
        let came = client.skip(now, SkipRules::default(), last, &there.members(), checker);
        if came.is_ok() != is_enough {
            return fault(format!(
                "{known} of 4 known members signed, and it says {came:?}"
            ));
        }
    }
    Ok(())
}

fn client_of(
    federation: &Federation,
    epoch: u64,
    members: Vec<Member>,
) -> Result<LightClient, Violation> {
    let table = CommitteeTable::new(members)
        .map_err(|error| Violation::new(NAME, format!("epoch {epoch}: {error}")))?;
    Ok(LightClient::from_trusted(
        &federation.chain,
        Epoch::new(epoch),
        Arc::new(table),
        federation.genesis.start,
    ))
}

fn header_of(decided: &Decided) -> DecidedHeader {
    DecidedHeader {
        header: decided.block.header.clone(),
        certificate: decided.certificate.clone(),
    }
}

/// Those whose bits stand in the certificate.
fn signers(decided: &DecidedHeader, table: &Table) -> Vec<ReplicaId> {
    let bits = decided.certificate.votes.signers.as_slice();
    let has_signed = |place: usize| {
        let byte = bits.get(place / 8).copied().unwrap_or(0);
        byte >> (place % 8) & 1 == 1
    };
    let rows = table.rows().iter().enumerate();
    rows.filter(|(place, _)| has_signed(*place))
        .map(|(_, row)| row.id)
        .collect()
}

fn fault<T>(what: impl Into<String>) -> Result<T, Violation> {
    Err(Violation::new(NAME, what))
}
