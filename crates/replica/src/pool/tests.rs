use super::*;
use alloc::format;
use alloc::vec;
use polity_crypto::stub::{StubSigner, StubVerifier};
use polity_crypto::{Checker, Signer};
use polity_ledger::{Command, Transaction};
use polity_types::{Amount, ChainId, Height};
use proptest::prelude::*;
use rstest::rstest;

const CHAIN: ChainId = ChainId::new([7; 32]);

fn address(account: u8) -> Address {
    format!("agent{account:03}@thor").parse().unwrap()
}

/// A transaction of `account`; each nonce makes another one, and each command makes it longer.
fn transaction(account: u8, nonce: u64, commands: usize) -> Verified<SignedTransaction> {
    let signer = StubSigner::new(u64::from(account));
    let transfer = Command::Transfer {
        from: address(account),
        to: "bob@sprout".parse().unwrap(),
        amount: Amount::from_units(1),
    };
    let transaction = Transaction {
        chain: CHAIN,
        signer: address(account),
        keys: vec![signer.public_key().clone()],
        commands: vec![transfer; commands],
        // Of one length whatever the value, so that sizes are easy to foresee.
        valid_until: Height::new(100),
        nonce: 1_000_000 + nonce,
    };
    let transaction = transaction.sign(&[&signer]).unwrap();
    Verified::check(transaction, &CHAIN, &mut Checker::new(StubVerifier, 0)).unwrap()
}

fn pool(count_max: usize, per_account_max: usize) -> Pool {
    Pool::new(PoolConfig {
        count_max,
        per_account_max,
        ..PoolConfig::default()
    })
}

fn principal(account: u8) -> Principal {
    Principal::Account(address(account))
}

/// Lets a transaction in that came from a member.
fn pass(pool: &mut Pool, at: Time, account: u8, made: Verified<SignedTransaction>) -> Outcome {
    pool.insert(at, principal(account), Standing::Passing, made)
}

/// Lets a transaction of a client in.
fn promise(pool: &mut Pool, account: u8, made: Verified<SignedTransaction>) -> Outcome {
    pool.insert(Time::ZERO, principal(account), Standing::Promised, made)
}

type Outcome = Result<(), Refusal>;

/// What a pool has to be at any time, computed from its contents.
fn check(pool: &Pool) {
    let bytes: usize = pool
        .by_id
        .values()
        .map(|waiting| waiting.transaction.encode().len())
        .sum();
    assert_eq!(pool.bytes(), bytes);
    let mut queues: BTreeMap<Principal, Queue> = BTreeMap::new();
    let (mut promised, mut promised_bytes) = (0, 0);
    for (id, waiting) in &pool.by_id {
        let queue = queues.entry(waiting.principal.clone()).or_default();
        queue.waiting.insert(waiting.arrival, *id);
        match waiting.standing {
            Standing::Passing => {
                queue.passing.insert(waiting.arrival);
            }
            Standing::Promised => {
                queue.promised_bytes += waiting.size();
                promised_bytes += waiting.size();
                promised += 1;
            }
        }
    }
    let passing: BTreeSet<_> = queues
        .iter()
        .filter(|(_, queue)| !queue.passing.is_empty())
        .map(|(principal, queue)| (queue.passing.len(), principal.clone()))
        .collect();
    assert_eq!(pool.queues, queues);
    assert_eq!(pool.passing, passing);
    let parked: BTreeSet<_> = pool
        .by_id
        .iter()
        .filter(|(_, waiting)| waiting.is_parked)
        .map(|(id, _)| *id)
        .collect();
    assert_eq!(pool.parked, parked);
    assert!(parked.iter().all(|id| {
        let waiting = &pool.by_id[id];
        waiting.standing == Standing::Promised && waiting.forward_at.is_none()
    }));
    assert_eq!(
        (pool.promised, pool.promised_bytes),
        (promised, promised_bytes)
    );
    let unforwarded: BTreeMap<_, _> = pool
        .by_id
        .iter()
        .filter_map(|(id, waiting)| Some(((waiting.forward_at?, waiting.arrival), *id)))
        .collect();
    assert_eq!(pool.unforwarded, unforwarded);
    assert!(pool.len() <= pool.config.count_max);
    assert!(pool.bytes() <= pool.config.bytes_max);
    assert!(
        pool.queues
            .values()
            .all(|queue| (1..=pool.config.per_account_max).contains(&queue.waiting.len()))
    );
}

/// What is offered when only the count matters.
fn offer(pool: &Pool, count_max: usize) -> Candidates {
    pool.candidates(count_max, usize::MAX)
}

fn ids(candidates: &Candidates) -> Vec<TransactionId> {
    let transactions = &candidates.transactions;
    transactions.iter().map(|made| made.id()).collect()
}

fn accounts(chosen: &[Arc<Verified<SignedTransaction>>]) -> Vec<Address> {
    chosen
        .iter()
        .map(|transaction| transaction.transaction().signer.clone())
        .collect()
}

#[test]
fn one_account_has_as_many_places_as_it_may_and_no_more() {
    let mut pool = pool(100, 3);
    for nonce in 0..3 {
        assert_eq!(
            pass(&mut pool, Time::ZERO, 1, transaction(1, nonce, 1)).err(),
            None
        );
    }
    let refused = pass(&mut pool, Time::ZERO, 1, transaction(1, 3, 1));
    assert_eq!(refused.err(), Some(Refusal::AccountFull { max: 3 }));
    assert_eq!(
        pass(&mut pool, Time::ZERO, 2, transaction(2, 0, 1)).err(),
        None,
        "others have their own places"
    );
    check(&pool);
}

#[test]
fn a_flood_of_one_account_gives_way_to_others() {
    let mut pool = pool(10, 10);
    for nonce in 0..10 {
        pass(&mut pool, Time::ZERO, 1, transaction(1, nonce, 1)).unwrap();
    }
    // Nine others come late and all find a place; the flood keeps its oldest.
    let oldest = transaction(1, 0, 1).id();
    for account in 2..=10 {
        pass(&mut pool, Time::ZERO, account, transaction(account, 0, 1)).unwrap();
        check(&pool);
    }
    assert_eq!(pool.len(), 10);
    assert!(pool.contains(&oldest));
    // Now nobody has more than anybody would have with one more, so nobody has to go.
    for account in [1, 2, 11] {
        let refused = pass(&mut pool, Time::ZERO, account, transaction(account, 20, 1));
        assert_eq!(refused.err(), Some(Refusal::PoolFull));
    }
    check(&pool);
}

#[test]
fn a_refusal_for_want_of_bytes_costs_nobody_a_place() {
    let small = transaction(1, 0, 1).length() as usize;
    let large = transaction(2, 0, 64);
    assert!(
        large.length() as usize > 10 * small,
        "the case needs a large one"
    );
    let mut pool = Pool::new(PoolConfig {
        bytes_max: 12 * small,
        ..PoolConfig::default()
    });
    for nonce in 0..12 {
        // Two accounts with six each: five could go from each before they have as few as one.
        let account = if nonce < 6 { 1 } else { 3 };
        pass(
            &mut pool,
            Time::ZERO,
            account,
            transaction(account, nonce, 1),
        )
        .unwrap();
    }
    let before = pool.clone();
    let refused = pass(&mut pool, Time::ZERO, 2, large);
    assert_eq!(refused.err(), Some(Refusal::PoolFull));
    check(&pool);
    assert_eq!(pool.queues, before.queues, "in the same order as before");
    assert_eq!(pool.unforwarded, before.unforwarded);
}

#[test]
fn what_was_promised_gives_way_to_nobody() {
    let mut pool = pool(10, 10);
    // The oldest, and what its client asked to keep when a member had sent it.
    for nonce in 0..10 {
        pass(&mut pool, Time::ZERO, 1, transaction(1, nonce, 1)).unwrap();
    }
    let kept: Vec<TransactionId> = [0, 9].map(|nonce| transaction(1, nonce, 1).id()).to_vec();
    for id in &kept {
        assert_eq!(pool.promise(id), Ok(true));
        assert_eq!(pool.promise(id), Ok(false), "once is enough");
    }
    check(&pool);
    let before = ids(&offer(&pool, 10));
    let arrived: Vec<TransactionId> = (0..10).map(|n| transaction(1, n, 1).id()).collect();
    assert_eq!(before, arrived, "a promise changes no order");
    for account in 2..=30 {
        // Most are refused in the end; none costs a promise.
        let _ = pass(&mut pool, Time::ZERO, account, transaction(account, 0, 1));
        check(&pool);
        assert!(kept.iter().all(|id| pool.contains(id)));
    }
    assert_eq!(pool.len(), 10);
}

#[test]
fn promises_leave_room_for_others() {
    let mut pool = pool(64, 64);
    let mut most = Vec::new();
    for account in 1..=11 {
        let taken = (0..64)
            .take_while(|nonce| {
                promise(&mut pool, account, transaction(account, *nonce, 1)).is_ok()
            })
            .count();
        check(&pool);
        most.push(taken);
    }
    // Who floods halves what is left; the last eighth is for those who have little.
    assert_eq!(most, [32, 16, 8, 1, 1, 1, 1, 1, 1, 1, 1]);
    let refused = promise(&mut pool, 1, transaction(1, 100, 1));
    assert_eq!(refused, Err(Refusal::AccountFull { max: 32 }));
    let refused = promise(&mut pool, 12, transaction(12, 100, 1));
    assert_eq!(refused, Err(Refusal::PoolFull));
    // By bytes it is the same.
    let longest = SignedTransaction::LENGTH_MAX;
    assert_eq!(share(64 * longest, 0), 64 * longest);
    assert_eq!(share(64 * longest, 32 * longest), 32 * longest);
    assert_eq!(share(64 * longest, 56 * longest), longest / 16);
    let size = transaction(1, 0, 60).length() as usize;
    let mut pool = Pool::new(PoolConfig {
        bytes_max: 64 * longest,
        ..PoolConfig::default()
    });
    let taken = (0..2_000)
        .take_while(|nonce| promise(&mut pool, 1, transaction(1, *nonce, 60)).is_ok())
        .count();
    assert!(taken.abs_diff(32 * longest / size) <= 1, "{taken}");
    assert_eq!(promise(&mut pool, 2, transaction(2, 0, 60)), Ok(()));
    check(&pool);
}

#[test]
fn a_platform_is_one_principal_whatever_accounts_it_names() {
    let mut pool = pool(10, 10);
    let platform = Principal::Key(Sha256Digest::new([9; 32]));
    for account in 1..=10 {
        let made = transaction(account, 0, 1);
        pool.insert(Time::ZERO, platform.clone(), Standing::Passing, made)
            .unwrap();
    }
    // Ten signers are one queue, and it gives way.
    for account in 11..=19 {
        pass(&mut pool, Time::ZERO, account, transaction(account, 0, 1)).unwrap();
        check(&pool);
    }
    assert_eq!(pool.queues[&platform].waiting.len(), 1);
}

#[test]
fn the_turn_passes_to_whoever_was_left_out() {
    let mut pool = pool(100, 10);
    for account in 1..=5 {
        for nonce in 0..2 {
            pass(
                &mut pool,
                Time::ZERO,
                account,
                transaction(account, nonce, 1),
            )
            .unwrap();
        }
    }
    // Each block has room for two; everybody is served in turn.
    let size = transaction(1, 0, 1).length() as usize;
    let mut served = Vec::new();
    for _ in 0..5 {
        let taken = pool.candidates(100, 2 * size + size / 2);
        served.extend(accounts(&taken.transactions));
        pool.serve(&taken);
        for id in ids(&taken) {
            pool.remove(&id);
        }
    }
    let expected: Vec<Address> = [1, 2, 3, 4, 1, 5, 2, 3, 4, 5].map(address).to_vec();
    assert_eq!(served, expected, "in a block, who came first stands first");
}

/// One may spend what another brings, so who came first stands first, whosever turn it is.
#[test]
fn candidates_stand_in_the_order_of_arrival() {
    let mut pool = pool(100, 10);
    let order = [9, 1, 9, 5, 1, 9];
    let arrived: Vec<TransactionId> = order
        .iter()
        .zip(0..)
        .map(|(account, nonce)| {
            let made = transaction(*account, nonce, 1);
            let id = made.id();
            pass(&mut pool, Time::ZERO, *account, made).unwrap();
            id
        })
        .collect();
    assert_eq!(ids(&offer(&pool, 100)), arrived);
    // Which ones there is room for is decided by turns.
    let four = ids(&offer(&pool, 4));
    assert_eq!(four, [arrived[0], arrived[1], arrived[3], arrived[4]]);
}

#[test]
fn what_is_parked_is_offered_to_nobody_and_is_no_work() {
    let mut pool = pool(100, 10);
    let promised = transaction(1, 0, 1);
    let passing = transaction(1, 1, 1);
    let (id, other) = (promised.id(), passing.id());
    promise(&mut pool, 1, promised).unwrap();
    pass(&mut pool, Time::ZERO, 1, passing).unwrap();
    pool.forward(Time::ZERO, 10, usize::MAX);
    assert!(pool.has_forwarded());
    pool.park(&id);
    pool.park(&other);
    check(&pool);
    assert!(pool.contains(&id), "a promise stays");
    assert!(!pool.contains(&other), "what others keep does not");
    assert!(!pool.has_forwarded() && pool.next_forward().is_none());
    assert!(ids(&offer(&pool, 10)).is_empty());
    assert_eq!(pool.parked(None, 10).len(), 1);
    assert!(pool.parked(Some(id), 10).is_empty());
    pool.unpark(Time::from_millis(7), &id);
    check(&pool);
    assert_eq!(pool.next_forward(), Some(Time::from_millis(7)));
    assert_eq!(ids(&offer(&pool, 10)), [id]);
}

/// What members sent gives way to a promise, however few of it each of them has.
#[test]
fn a_pool_full_of_others_has_room_for_a_client() {
    let mut pool = pool(64, 64);
    for account in 0..64 {
        pass(&mut pool, Time::ZERO, account, transaction(account, 0, 1)).unwrap();
    }
    let refused = pass(&mut pool, Time::ZERO, 100, transaction(100, 0, 1));
    assert_eq!(refused, Err(Refusal::PoolFull));
    for nonce in 0..32 {
        assert_eq!(promise(&mut pool, 100, transaction(100, nonce, 1)), Ok(()));
        check(&pool);
    }
}

#[test]
fn what_is_forwarded_is_due_bounded_and_sent_once() {
    let at = Time::from_millis;
    let mut pool = pool(100, 100);
    for nonce in 0..5 {
        let when = at(10 * (nonce + 1));
        pass(&mut pool, when, 1, transaction(1, nonce, 1)).unwrap();
    }
    let size = transaction(1, 0, 1).length() as usize;
    assert_eq!(pool.next_forward(), Some(at(10)));
    assert!(pool.forward(at(9), 100, usize::MAX).is_empty());
    assert!(!pool.has_forwarded());
    assert_eq!(pool.forward(at(40), 1, usize::MAX).len(), 1, "by count");
    assert_eq!(pool.forward(at(40), 100, 2 * size).len(), 2, "by bytes");
    assert_eq!(pool.forward(at(40), 100, 1).len(), 1, "always one");
    assert!(pool.forward(at(40), 100, usize::MAX).is_empty());
    assert!(pool.has_forwarded());
    assert_eq!(pool.next_forward(), Some(at(50)));
    check(&pool);
    for nonce in 0..4 {
        pool.remove(&transaction(1, nonce, 1).id());
    }
    assert!(!pool.has_forwarded(), "only what waits is work");
    check(&pool);
}

#[test]
fn cr_3_bytes_with_other_signatures_are_not_known() {
    let mut pool = pool(10, 10);
    let good = transaction(1, 0, 1);
    let id = Sha256Digest::new(*good.id().as_bytes());
    let bytes = good.encode();
    let mut other = bytes.clone();
    *other.last_mut().unwrap() ^= 1;
    let decoded = SignedTransaction::decode(&other).unwrap();
    assert_eq!(decoded.id(), good.id(), "no signature byte is in the id");
    pass(&mut pool, Time::ZERO, 1, good).unwrap();
    assert!(pool.verified(&id, &bytes).is_some());
    assert!(pool.verified(&id, &other).is_none());
}

#[rstest]
#[case::account(Refusal::AccountFull { max: 7 }, "the account has 7 transactions waiting: send again when some are decided")]
#[case::key(
    Refusal::UnknownKey,
    "the first key of the transaction is not the owner of the signer's account, its platform or the authority"
)]
#[case::pool(Refusal::PoolFull, "the pool is full: send again later")]
fn refusals_say_what_to_do(#[case] refusal: Refusal, #[case] text: &str) {
    assert_eq!(format!("{refusal}"), text);
}

/// The pool as a list in order of arrival: slow, and simple enough to be right.
#[derive(Default)]
struct Model {
    waiting: Vec<(Address, TransactionId, Standing)>,
    turn: Option<Address>,
}

impl Model {
    fn of(&self, account: &Address) -> usize {
        self.waiting
            .iter()
            .filter(|(owner, ..)| owner == account)
            .count()
    }

    fn count(&self, account: Option<&Address>, standing: Standing) -> usize {
        self.waiting
            .iter()
            .filter(|(owner, _, found)| {
                account.is_none_or(|account| owner == account) && *found == standing
            })
            .count()
    }

    fn check_promise(&self, config: &PoolConfig, account: &Address) -> Outcome {
        let own = self.count(Some(account), Standing::Promised);
        let left = config.count_max - self.count(None, Standing::Promised);
        let most = if left <= config.count_max / 8 {
            1
        } else {
            left
        };
        if left > 0 && own < most {
            return Ok(());
        }
        Err(match own {
            0 => Refusal::PoolFull,
            max => Refusal::AccountFull { max },
        })
    }

    fn insert(
        &mut self,
        config: &PoolConfig,
        account: &Address,
        id: TransactionId,
        standing: Standing,
    ) -> Outcome {
        let own = self.of(account);
        if own >= config.per_account_max {
            return Err(Refusal::AccountFull {
                max: config.per_account_max,
            });
        }
        if standing == Standing::Promised {
            self.check_promise(config, account)?;
        }
        if self.waiting.len() >= config.count_max {
            let longest = self
                .waiting
                .iter()
                .map(|(owner, ..)| (self.count(Some(owner), Standing::Passing), owner.clone()))
                .max();
            let shorter = match standing {
                Standing::Promised => 0,
                Standing::Passing => own + 1,
            };
            let Some((_, longest)) = longest.filter(|(length, _)| *length > shorter) else {
                return Err(Refusal::PoolFull);
            };
            let newest = self
                .waiting
                .iter()
                .rposition(|(owner, _, found)| *owner == longest && *found == Standing::Passing);
            self.waiting.remove(newest.unwrap());
        }
        self.waiting.push((account.clone(), id, standing));
        Ok(())
    }

    fn promise(
        &mut self,
        config: &PoolConfig,
        account: &Address,
        id: TransactionId,
    ) -> Result<bool, Refusal> {
        let place = self.waiting.iter().position(|(_, known, _)| *known == id);
        let Some(place) = place.filter(|place| self.waiting[*place].2 == Standing::Passing) else {
            return Ok(false);
        };
        self.check_promise(config, account)?;
        self.waiting[place].2 = Standing::Promised;
        Ok(true)
    }

    /// One of each account in turn, the accounts in the order of their names; then in the order of
    /// arrival. With them comes whose turn was the last.
    fn candidates(&self, count_max: usize) -> (Vec<TransactionId>, Option<Address>) {
        let owners: BTreeSet<&Address> = self.waiting.iter().map(|(owner, ..)| owner).collect();
        let (early, late): (Vec<&Address>, Vec<&Address>) = owners
            .into_iter()
            .partition(|owner| self.turn.as_ref().is_some_and(|last| *owner <= last));
        let order: Vec<&Address> = late.into_iter().chain(early).collect();
        let mut chosen = Vec::new();
        for round in 0..self.waiting.len() {
            for owner in &order {
                let of_owner = self.waiting.iter().filter(|(found, ..)| found == *owner);
                chosen.extend(
                    of_owner
                        .map(|(owner, id, _)| (*id, owner.clone()))
                        .nth(round),
                );
            }
        }
        chosen.truncate(count_max);
        let last = chosen.last().map(|(_, owner)| owner.clone());
        let is_chosen = |id: &TransactionId| chosen.iter().any(|(chosen, _)| chosen == id);
        let arrived = self.waiting.iter().map(|(_, id, _)| *id);
        (arrived.filter(is_chosen).collect(), last)
    }
}

#[derive(Clone, Debug)]
enum Step {
    Pass { account: u8, nonce: u64 },
    Promise { account: u8, nonce: u64 },
    Block { room: usize },
    Forget { nonce_below: u64 },
    Forward { count: usize },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        // Account 0 floods.
        4 => (0_u64..40).prop_map(|nonce| Step::Pass { account: 0, nonce }),
        6 => (1_u8..5, 0_u64..40).prop_map(|(account, nonce)| Step::Pass { account, nonce }),
        4 => (0_u8..5, 0_u64..40).prop_map(|(account, nonce)| Step::Promise { account, nonce }),
        2 => (1_usize..6).prop_map(|room| Step::Block { room }),
        1 => (0_u64..10).prop_map(|nonce_below| Step::Forget { nonce_below }),
        1 => (1_usize..4).prop_map(|count| Step::Forward { count }),
    ];
    prop::collection::vec(step, 1..80)
}

proptest! {
    #[test]
    fn the_pool_agrees_with_a_list(steps in steps()) {
        let mut pool = pool(12, 6);
        let mut model = Model::default();
        for step in steps {
            match step {
                Step::Pass { account, nonce } => {
                    let made = transaction(account, nonce, 1);
                    let id = made.id();
                    prop_assert_eq!(
                        pool.contains(&id),
                        model.waiting.iter().any(|(_, known, _)| *known == id)
                    );
                    // The replica asks before: an id waits once.
                    if !pool.contains(&id) {
                        let expected =
                            model.insert(&pool.config, &address(account), id, Standing::Passing);
                        let at = Time::from_millis(nonce);
                        prop_assert_eq!(pass(&mut pool, at, account, made), expected);
                    }
                }
                Step::Promise { account, nonce } => {
                    let made = transaction(account, nonce, 1);
                    let id = made.id();
                    if pool.contains(&id) {
                        let expected = model.promise(&pool.config, &address(account), id);
                        prop_assert_eq!(pool.promise(&id), expected);
                    } else {
                        let expected =
                            model.insert(&pool.config, &address(account), id, Standing::Promised);
                        prop_assert_eq!(promise(&mut pool, account, made), expected);
                    }
                }
                Step::Block { room } => {
                    let candidates = offer(&pool, room);
                    let (expected, last) = model.candidates(room);
                    prop_assert_eq!(ids(&candidates), expected);
                    pool.serve(&candidates);
                    model.turn = last.or(model.turn);
                    for id in ids(&candidates) {
                        pool.remove(&id);
                        model.waiting.retain(|(_, known, _)| *known != id);
                    }
                }
                Step::Forget { nonce_below } => {
                    let below = 1_000_000 + nonce_below;
                    let gone: BTreeSet<TransactionId> = pool
                        .by_id
                        .values()
                        .filter(|waiting| waiting.transaction.transaction().nonce < below)
                        .map(|waiting| waiting.transaction.id())
                        .collect();
                    pool.retain(|made| made.transaction().nonce >= below);
                    model.waiting.retain(|(_, id, _)| !gone.contains(id));
                }
                Step::Forward { count } => {
                    let sent = pool.forward(Time::from_millis(20), count, usize::MAX);
                    prop_assert!(sent.len() <= count);
                }
            }
            check(&pool);
            let kept: BTreeSet<TransactionId> = pool.by_id.keys().copied().collect();
            let expected = model.waiting.iter().map(|(_, id, _)| *id).collect();
            prop_assert_eq!(kept, expected);
        }
    }

    /// However the room of blocks changes, an account that always waits is served before anybody
    /// else is served twice more often.
    #[test]
    fn nobody_starves(rooms in prop::collection::vec(1_usize..8, 10..60)) {
        let members = 7_u8;
        let mut pool = pool(1_000, 100);
        let mut nonces = vec![0_u64; usize::from(members)];
        let mut served = vec![0_u64; usize::from(members)];
        for room in rooms {
            // Everybody has three waiting whenever a block is made, and account 0 has many.
            for account in 0..members {
                let wanted = if account == 0 { 50 } else { 3 };
                while pool.queues.get(&principal(account)).map_or(0, |q| q.waiting.len()) < wanted {
                    let nonce = &mut nonces[usize::from(account)];
                    pass(&mut pool, Time::ZERO, account, transaction(account, *nonce, 1)).unwrap();
                    *nonce += 1;
                }
            }
            let taken = offer(&pool, room);
            pool.serve(&taken);
            for made in &taken.transactions {
                let account = (0..members).find(|n| address(*n) == made.transaction().signer);
                served[usize::from(account.unwrap())] += 1;
                pool.remove(&made.id());
            }
        }
        let (least, most) = (served.iter().min().unwrap(), served.iter().max().unwrap());
        prop_assert!(most - least <= 1, "{served:?}");
    }
}
