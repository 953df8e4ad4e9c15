//! `GET /metrics`: the text format of Prometheus.

use super::queries::read_status;
use super::{ApiError, Gate};
use crate::meters::Meters;
use crate::transport::{Counters, Lane, LaneCounters};
use crate::view::Status;
use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use std::fmt::{Display, Write as _};
use std::sync::Arc;

pub(super) async fn metrics(State(gate): State<Arc<Gate>>) -> Result<impl IntoResponse, ApiError> {
    let service = gate.service()?;
    let _turn = gate.probe().await?;
    let status = read_status(service).await?;
    let counters = service.transport.counters();
    let drops = service
        .ask(|view| {
            let drops = view.replica.machine().drops().iter();
            drops
                .map(|(reason, count)| (format!("{reason:?}"), *count))
                .collect::<Vec<_>>()
        })
        .await?;
    let text = render(&status, &gate.meters, &counters, &drops);
    let content_type = "text/plain; version=0.0.4; charset=utf-8";
    Ok(([(header::CONTENT_TYPE, content_type)], text))
}

/// A text that grows by one metric at a time.
struct Text(String);

impl Text {
    fn metric(&mut self, kind: &str, name: &str, help: &str) {
        // Writing into a string does not fail.
        let _ = writeln!(
            self.0,
            "# HELP polity_{name} {help}\n# TYPE polity_{name} {kind}"
        );
    }

    fn value(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        let labels: Vec<String> = labels
            .iter()
            .map(|(key, value)| {
                let value = value.replace('\\', "\\\\").replace('"', "\\\"");
                format!("{key}=\"{value}\"")
            })
            .collect();
        let labels = if labels.is_empty() {
            String::new()
        } else {
            format!("{{{}}}", labels.join(","))
        };
        let _ = writeln!(self.0, "polity_{name}{labels} {value}");
    }

    fn plain(&mut self, kind: &str, name: &str, help: &str, value: impl Display) {
        self.metric(kind, name, help);
        self.value(name, &[], value);
    }
}

fn render(
    status: &Status,
    meters: &Meters,
    counters: &Counters,
    drops: &[(String, u64)],
) -> String {
    let mut text = Text(String::new());
    let gauges: [(&str, &str, u128); 9] = [
        (
            "height",
            "Height of the last committed block.",
            status.height.get().into(),
        ),
        (
            "view",
            "View of the height being decided.",
            status.view.get().into(),
        ),
        (
            "pool_transactions",
            "Transactions that wait for a block.",
            status.pool_transactions as u128,
        ),
        (
            "journal_bytes",
            "Bytes of the journal.",
            status.journal_bytes.into(),
        ),
        (
            "supply_units",
            "Supply in millionths of an ATP.",
            status.supply_total.units(),
        ),
        (
            "ready",
            "Whether the node is linked to a quorum.",
            u128::from(status.ready),
        ),
        (
            "votes",
            "Whether the node votes on the next height.",
            u128::from(status.votes),
        ),
        (
            "key_ends_seconds",
            "When the key of this node ends, in seconds since the Unix epoch; 0 if it does not.",
            meters.key_ends.read().into(),
        ),
        (
            "epoch",
            "Epoch of the next height.",
            status.epoch.get().into(),
        ),
    ];
    for (name, help, value) in gauges {
        text.plain("gauge", name, help, value);
    }
    let totals = [
        (
            "keys_ended_total",
            "Keys of this node that ended; nothing is signed with them any more.",
            &meters.keys_ended,
        ),
        ("blocks_total", "Blocks committed.", &meters.blocks),
        (
            "transactions_applied_total",
            "Transactions applied.",
            &meters.applied,
        ),
        (
            "transactions_refused_total",
            "Transactions in blocks that were refused.",
            &meters.refused,
        ),
        (
            "transactions_verified_total",
            "Transactions whose signatures held.",
            &meters.verified,
        ),
        (
            "transactions_not_admitted_total",
            "Transactions that did not pass.",
            &meters.not_admitted,
        ),
        (
            "transactions_dropped_total",
            "Transactions of members dropped unverified.",
            &meters.dropped,
        ),
        (
            "driver_batches_total",
            "Batches of inputs handled.",
            &meters.batches,
        ),
        ("driver_inputs_total", "Inputs handled.", &meters.inputs),
        (
            "driver_busy_microseconds_total",
            "Time at work, flushes included.",
            &meters.busy_us,
        ),
        (
            "journal_flushes_total",
            "Flushes of the journal.",
            &meters.flushes,
        ),
        (
            "journal_flush_microseconds_total",
            "Time of these flushes.",
            &meters.flush_us,
        ),
        ("snapshots_total", "Snapshots taken.", &meters.snapshots),
        (
            "syncs_started_total",
            "Snapshots of others that this node began to fetch.",
            &meters.syncs_started,
        ),
        (
            "sync_chunks_total",
            "Chunks of such snapshots that arrived and are kept.",
            &meters.sync_chunks,
        ),
        (
            "syncs_failed_total",
            "Snapshots of others that were given up.",
            &meters.syncs_failed,
        ),
        (
            "sync_answers_refused_total",
            "Answers about snapshots that were of no use.",
            &meters.sync_refused,
        ),
        (
            "syncs_installed_total",
            "Snapshots of others that took the place of blocks.",
            &meters.syncs_installed,
        ),
        (
            "evidence_total",
            "Pieces of evidence reported.",
            &meters.evidence,
        ),
        (
            "journal_records_lost_total",
            "Records of the journal that were lost when it was repaired.",
            &meters.records_lost,
        ),
        (
            "journal_heights_repaired_total",
            "Heights that were fetched to repair the journal.",
            &meters.heights_repaired,
        ),
        (
            "frames_malformed_total",
            "Frames that could not be decoded.",
            &meters.malformed_frames,
        ),
        (
            "http_requests_total",
            "Requests to the HTTP interface.",
            &meters.requests,
        ),
        (
            "http_requests_shed_total",
            "Requests refused because there was too much at once.",
            &meters.requests_shed,
        ),
    ];
    for (name, help, meter) in totals {
        text.plain("counter", name, help, meter.read());
    }
    text.metric(
        "counter",
        "messages_dropped_total",
        "Messages of consensus without effect, by reason.",
    );
    for (reason, count) in drops {
        text.value("messages_dropped_total", &[("reason", reason)], count);
    }
    links(&mut text, status, counters);
    text.0
}

/// One number of a lane.
type Read = fn(&LaneCounters) -> u64;

fn links(text: &mut Text, status: &Status, counters: &Counters) {
    text.metric(
        "gauge",
        "peer_connected",
        "Whether this node can send to the peer.",
    );
    for peer in &status.peers {
        text.value(
            "peer_connected",
            &[("peer", &peer.name)],
            u8::from(peer.connected),
        );
    }
    text.metric(
        "gauge",
        "peer_round_trip_microseconds",
        "Round trip of the link to the peer.",
    );
    for peer in &status.peers {
        text.value(
            "peer_round_trip_microseconds",
            &[("peer", &peer.name)],
            peer.round_trip_us,
        );
    }
    let lanes: [(&str, &str, &str, Read); 6] = [
        (
            "counter",
            "peer_frames_in_total",
            "Frames received.",
            |lane| lane.frames_in,
        ),
        (
            "counter",
            "peer_bytes_in_total",
            "Bytes of frames received.",
            |lane| lane.bytes_in,
        ),
        ("counter", "peer_frames_out_total", "Frames sent.", |lane| {
            lane.frames_out
        }),
        (
            "counter",
            "peer_bytes_out_total",
            "Bytes of frames sent.",
            |lane| lane.bytes_out,
        ),
        (
            "counter",
            "peer_frames_dropped_total",
            "Frames that fell out of a full queue.",
            |lane| lane.dropped,
        ),
        (
            "gauge",
            "peer_frames_waiting",
            "Frames that wait to be sent.",
            |lane| lane.waiting_frames,
        ),
    ];
    for (kind, name, help, read) in lanes {
        text.metric(kind, name, help);
        for peer in &status.peers {
            let Some(of_peer) = counters.peers.get(&peer.replica) else {
                continue;
            };
            for lane in Lane::ALL {
                let labels = [("peer", peer.name.as_str()), ("lane", lane.name())];
                text.value(name, &labels, read(&of_peer.lanes[lane as usize]));
            }
        }
    }
    text.metric(
        "counter",
        "peer_frames_refused_total",
        "Frames that were not taken, by reason.",
    );
    for peer in &status.peers {
        let Some(of_peer) = counters.peers.get(&peer.replica) else {
            continue;
        };
        for (reason, count) in [("oversized", of_peer.oversized), ("forged", of_peer.forged)] {
            let labels = [("peer", peer.name.as_str()), ("reason", reason)];
            text.value("peer_frames_refused_total", &labels, count);
        }
    }
    let refusals = &counters.refusals;
    text.metric(
        "counter",
        "handshakes_refused_total",
        "Links that were not established, by reason.",
    );
    let reasons = [
        ("stranger", refusals.strangers),
        ("wrong_key", refusals.wrong_key),
        ("other_chain", refusals.other_chain),
        ("incompatible", refusals.incompatible),
        ("busy", refusals.busy),
        ("refused_by_peer", refusals.refused_by_peer),
        ("link_secret", refusals.link_secret),
        ("other", refusals.other),
    ];
    for (reason, count) in reasons {
        text.value("handshakes_refused_total", &[("reason", reason)], count);
    }
}
