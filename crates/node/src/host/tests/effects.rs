//! A host asks for what its replica asks for, and says nothing again otherwise after a crash.

use super::*;

#[test]
fn the_host_gives_the_effects_of_a_bare_replica() {
    let story = Story::new();
    let mut replica = story.replica(0);
    let expected: Vec<Effect> = story
        .steps
        .iter()
        .flat_map(|(time, step)| drive(&mut replica, *time, step.clone()))
        .collect();
    let (persisted, rest): (Vec<Effect>, Vec<Effect>) = expected
        .into_iter()
        .partition(|effect| matches!(effect, Effect::Persist(_)));
    let lengths = (persisted.len(), rest.len());
    assert!(
        lengths.0 > 20 && lengths.1 > 20,
        "the story is too short: {lengths:?}"
    );

    // However the steps are cut into batches.
    for batch in [1, 2, 7, usize::MAX] {
        let file = MemoryFile::new(fresh_journal(&story));
        let journal = open(&story, file.clone());
        let mut host = Host::new(story.replica(0), journal, Places::default());
        let mut released = Vec::new();
        for (number, (time, step)) in story.steps.iter().enumerate() {
            match step.clone() {
                Step::Tick => host.tick(*time).unwrap(),
                Step::Input(input) => host.handle(*time, input).unwrap(),
            }
            if number % batch.min(story.steps.len()) == 0 {
                released.extend(host.flush().unwrap());
                assert!(
                    file.0.borrow().pending.is_empty(),
                    "released before it was durable"
                );
            }
        }
        released.extend(host.flush().unwrap());
        for released in &released {
            let is_block = matches!(released.effect, Effect::Committed(_));
            assert_eq!(released.entry.is_some(), is_block);
        }
        let effects: Vec<Effect> = released.into_iter().map(|r| r.effect).collect();
        assert_eq!(effects, rest, "batches of {batch}");

        let mut records = Vec::new();
        let chain = story.founded.genesis.chain().unwrap().id();
        Journal::open(
            file.after_crash(Loss::Everything),
            chain,
            &story.own_key(),
            |_, payload| {
                let record: Record = wire::decode(payload, 1 << 24).unwrap();
                records.push(Effect::Persist(record));
            },
        )
        .unwrap();
        assert_eq!(records, persisted, "batches of {batch}");
    }
}

/// What the replica said, as far as it could contradict itself.
#[derive(Default)]
struct Said(BTreeMap<(u8, Height, View), String>);

impl Said {
    fn hear(&mut self, own: ReplicaId, effect: &Effect) {
        let (Effect::Send { frame, .. } | Effect::Broadcast(frame)) = effect else {
            return;
        };
        let Frame::Consensus(message) = frame else {
            return;
        };
        let (kind, height, view, what) = match message {
            Message::Vote(vote) if vote.signer == own => {
                let kind = match vote.kind {
                    VoteKind::Prepare => 1,
                    VoteKind::Commit => 2,
                };
                (kind, vote.height, vote.view, format!("{:?}", vote.value))
            }
            Message::ViewChange(change) if change.signer == own => {
                let what = format!("{:?}", change.prepared);
                (3, change.height, change.view, what)
            }
            Message::Proposal(proposal) => {
                let part = &proposal.pre_prepare;
                (4, part.height, part.view, part.digest.to_string())
            }
            _ => return,
        };
        let before = self.0.entry((kind, height, view)).or_insert(what.clone());
        assert_eq!(*before, what, "the replica contradicted itself");
    }
}

#[test]
fn what_was_said_before_a_crash_survives_it() {
    let story = Story::new();
    let empty = fresh_journal(&story);
    let chain = story.founded.genesis.chain().unwrap();
    // How many writes and flushes the whole story takes.
    let all = {
        let file = MemoryFile::new(empty.clone());
        run_until_crash(&story, &file, None);

        file.0.borrow().operations
    };
    assert!(all > 60, "{all} operations are no test");
    let scratch = Scratch::new();
    for crash_at in 0..all {
        let loss = [Loss::Everything, Loss::Half, Loss::Nothing, Loss::Garbled][crash_at % 4];
        let file = MemoryFile::new(empty.clone());
        let (released, steps) = run_until_crash(&story, &file, Some(crash_at));

        // The index is gone, too: everything comes from the journal.
        let path = scratch.path().join(format!("index-{crash_at}"));
        let index = Store::open(&path, chain.id()).unwrap();
        let survived = file.after_crash(loss);
        let basis = Basis {
            genesis: &story.founded.genesis,
            config: Config::default(),
            own: OWN,
            signers: vec![story.keys[0].signer().clone()],
            former: Vec::new(),
            verifier: NodeVerifier::default(),
            index_seed: Seed::from_number(8),
        };
        let recovered = recover(survived, &index, basis)
            .unwrap_or_else(|error| panic!("crash at {crash_at}, {loss:?}: {error}"));
        let replica = &recovered.replica;
        let mut said = Said::default();
        for effect in &released {
            said.hear(replica.id(), effect);
            match effect {
                Effect::Answer {
                    id,
                    result: Ok(Admission::Pending | Admission::Known),
                } => {
                    let is_kept =
                        replica.pool().contains(id) || replica.ledger().receipt(id).is_some();
                    assert!(
                        is_kept,
                        "crash at {crash_at}, {loss:?}: a promise was forgotten"
                    );
                }
                Effect::Committed(committed) => {
                    let height = committed.block.header().height;
                    assert!(replica.tip().parent.height >= height);
                    let entry = index.block(height).unwrap().unwrap();
                    assert_eq!(entry.digest, *committed.block.digest().as_bytes());
                    assert_eq!(
                        decode_receipts(&index.receipts(height).unwrap().unwrap()).unwrap(),
                        committed.receipts.to_vec()
                    );
                }
                _ => {}
            }
        }
        // It goes on with the rest of the story and contradicts nothing.
        let mut host = Host::new(recovered.replica, recovered.journal, recovered.places);
        let own = host.replica().id();
        for (time, step) in &story.steps[steps..] {
            match step.clone() {
                Step::Tick => host.tick(*time).unwrap(),
                Step::Input(input) => host.handle(*time, input).unwrap(),
            }
            for released in host.flush().unwrap() {
                said.hear(own, &released.effect);
            }
        }
    }
}

/// Runs the story on a disk that breaks after so many operations. Returns what was released before,
/// and how many steps were taken.
fn run_until_crash(
    story: &Story,
    file: &MemoryFile,
    crash_at: Option<usize>,
) -> (Vec<Effect>, usize) {
    let journal = open(story, file.clone());
    // Opening flushes once; the story counts from here.
    file.0.borrow_mut().operations = 0;
    file.0.borrow_mut().operations_left = crash_at;
    let mut host = Host::new(story.replica(0), journal, Places::default());
    let mut released = Vec::new();
    for (number, (time, step)) in story.steps.iter().enumerate() {
        let result = match step.clone() {
            Step::Tick => host.tick(*time),
            Step::Input(input) => host.handle(*time, input),
        };
        if let Ok(part) = result.and_then(|()| host.flush()) {
            released.extend(part.into_iter().map(|r| r.effect));
        } else {
            // Nothing leaves any more.
            assert!(host.flush().is_err());
            return (released, number);
        }
    }
    (released, story.steps.len())
}

#[test]
fn time_never_runs_backwards() {
    let story = Story::new();
    let file = MemoryFile::new(fresh_journal(&story));
    let mut host = Host::new(story.replica(0), open(&story, file), Places::default());
    host.tick(now()).unwrap();
    let before = host.deadline();
    // A clock that was set back does not bring deadlines forward.
    host.tick(Time::from_millis(1)).unwrap();
    assert_eq!(host.deadline(), before);
}
