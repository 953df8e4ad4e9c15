//! Tests of the plan and of the proxy.

mod plan {
    use crate::soak::plan::{Fault, Kind, Plan, Window};
    use std::collections::BTreeSet;

    const LENGTH: u64 = 600_000;

    fn plans() -> impl Iterator<Item = Plan> {
        (1..30).flat_map(|seed| (4..=7).map(move |nodes| Plan::draw(seed, nodes, LENGTH)))
    }

    #[test]
    fn a_seed_gives_one_plan_and_another_seed_another() {
        for plan in plans() {
            assert_eq!(plan, Plan::draw(plan.seed, plan.nodes, LENGTH));
            assert_ne!(
                plan.faults,
                Plan::draw(plan.seed + 1, plan.nodes, LENGTH).faults
            );
        }
    }

    #[test]
    fn at_most_the_budget_is_away_outside_of_the_windows() {
        for plan in plans() {
            for (at, _) in plan.steps() {
                let is_beyond = |window: &Window| (window.from_ms..window.until_ms).contains(&at);
                let away: Vec<&Fault> = plan
                    .faults
                    .iter()
                    .filter(|fault| (fault.from_ms..fault.until_ms).contains(&at))
                    .collect();
                let nodes: BTreeSet<usize> = away.iter().map(|fault| fault.node).collect();
                assert_eq!(nodes.len(), away.len(), "one fault at a time for a node");
                if plan.beyond.iter().any(is_beyond) {
                    assert!(away.iter().all(|fault| fault.is_beyond));
                } else {
                    assert!(nodes.len() <= plan.away_max, "seed {} at {at}", plan.seed);
                    assert!(away.iter().all(|fault| !fault.is_beyond));
                }
            }
        }
    }

    #[test]
    fn windows_take_more_than_the_budget_and_everything_is_mended_at_the_end() {
        for plan in plans() {
            assert!(plan.beyond.len() >= 3);
            for window in &plan.beyond {
                let away: usize = plan
                    .faults
                    .iter()
                    .filter(|fault| fault.from_ms >= window.from_ms)
                    .filter(|fault| fault.until_ms <= window.until_ms)
                    .map(|fault| match &fault.kind {
                        Kind::Split { with } => 1 + with.len(),
                        _ => 1,
                    })
                    .sum();
                assert!(away > plan.away_max);
            }
            let last = plan.faults.iter().map(|fault| fault.until_ms).max();
            assert!(last.is_some_and(|last| last <= LENGTH));
            let is_sound = |fault: &Fault| match &fault.kind {
                Kind::Cut { to } => *to != fault.node && *to < plan.nodes,
                Kind::Split { with } => !with.contains(&fault.node),
                _ => true,
            };
            assert!(plan.faults.iter().all(is_sound));
        }
    }

    #[test]
    fn all_kinds_come_up_and_the_first_three_are_known() {
        for plan in plans() {
            let kinds: BTreeSet<&str> = plan.faults.iter().map(|f| f.kind.name()).collect();
            for kind in ["kill", "pause", "isolate"] {
                assert!(kinds.contains(kind), "seed {}", plan.seed);
            }
        }
        let all: BTreeSet<&str> = plans()
            .flat_map(|plan| plan.faults)
            .map(|fault| fault.kind.name())
            .collect();
        assert_eq!(all.len(), 8, "{all:?}");
        let short = Plan::draw(1, 4, 25_000);
        let kinds: Vec<&str> = short.faults.iter().map(|f| f.kind.name()).collect();
        assert!(kinds.contains(&"kill"), "{kinds:?}");
    }
}

mod proxy {
    use crate::soak::plan::Rates;
    use crate::soak::proxy::{Counts, Direction, Fate, Proxy};
    use polity_types::Seed;
    use std::net::{IpAddr, Ipv4Addr, UdpSocket};
    use std::time::{Duration, Instant};

    const LOCALHOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    /// Two nodes with a proxy in between; what node 0 sends goes to node 1.
    struct Pair {
        nodes: [UdpSocket; 2],
        proxy: Proxy,
        seed: Seed,
    }

    impl Pair {
        fn new(seed: u64) -> Self {
            let seed = Seed::from_number(seed);
            let nodes = [0, 1].map(|_| UdpSocket::bind((LOCALHOST, 0)).unwrap());
            let addresses = nodes.each_ref().map(|node| node.local_addr().unwrap());
            let proxy = Proxy::start(&addresses, LOCALHOST, seed).unwrap();
            Self { nodes, proxy, seed }
        }

        fn send(&self, number: u32) {
            let port = self.proxy.port(0, 1).unwrap();
            let sent = self.nodes[0].send_to(&number.to_le_bytes(), (LOCALHOST, port));
            assert_eq!(sent.unwrap(), 4);
        }

        /// The next number that arrives at node 1; `None` if none does.
        fn receive(&self, patience: Duration) -> Option<u32> {
            self.nodes[1].set_read_timeout(Some(patience)).unwrap();
            let mut bytes = [0; 4];
            let (length, from) = self.nodes[1].recv_from(&mut bytes).ok()?;
            assert_eq!(length, 4);
            assert_eq!(from.port(), self.proxy.port(0, 1).unwrap());
            Some(u32::from_le_bytes(bytes))
        }

        /// Waits until so many packets were judged.
        fn judged(&self, count: u64) -> Counts {
            let until = Instant::now() + Duration::from_secs(30);
            loop {
                let counts = self.proxy.switch.counts();
                if counts.received >= count || Instant::now() > until {
                    return counts;
                }
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    }

    const LONG: Duration = Duration::from_secs(30);

    #[test]
    fn packets_pass_in_both_directions_from_one_address() {
        let pair = Pair::new(1);
        for number in 0..100 {
            pair.send(number);
            assert_eq!(pair.receive(LONG), Some(number));
        }
        // An answer to where the packet came from reaches the first node.
        let port = pair.proxy.port(0, 1).unwrap();
        pair.nodes[1].send_to(b"back", (LOCALHOST, port)).unwrap();
        let mut bytes = [0; 8];
        pair.nodes[0].set_read_timeout(Some(LONG)).unwrap();
        let (length, from) = pair.nodes[0].recv_from(&mut bytes).unwrap();
        assert_eq!((&bytes[..length], from.port()), (&b"back"[..], port));
        // A stranger's packets go nowhere.
        let stranger = UdpSocket::bind((LOCALHOST, 0)).unwrap();
        stranger.send_to(b"who", (LOCALHOST, port)).unwrap();
        pair.send(7);
        assert_eq!(pair.receive(LONG), Some(7));
        let counts = pair.judged(102);
        assert_eq!((counts.received, counts.lost, counts.cut), (102, 0, 0));
    }

    #[test]
    fn losses_and_copies_are_those_of_the_seed() {
        let rates = Rates {
            loss: 200_000,
            duplicate: 100_000,
            ..Rates::default()
        };
        let pair = Pair::new(2);
        pair.proxy.switch.set(0, 1, rates);
        let mut expected = Direction::new(pair.seed.fork("direction 0 to 1").stream());
        expected.rates = rates;
        for number in 0..500 {
            let copies = match expected.next() {
                Fate::Dropped => 0,
                Fate::Sent { second, .. } => 1 + usize::from(second.is_some()),
            };
            pair.send(number);
            for _ in 0..copies {
                assert_eq!(pair.receive(LONG), Some(number));
            }
            pair.judged(u64::from(number) + 1);
        }
        let counts = pair.judged(500);
        assert_eq!(counts, expected.counts);
        assert!(counts.lost > 50 && counts.duplicated > 20, "{counts:?}");
        assert_eq!(pair.receive(Duration::from_millis(1)), None);
    }

    #[test]
    fn a_cut_lets_nothing_through_until_each_is_mended_and_the_other_way_stays() {
        let pair = Pair::new(3);
        let switch = &pair.proxy.switch;
        switch.cut(0, 1);
        switch.cut(0, 1);
        pair.send(1);
        assert_eq!(pair.judged(1).cut, 1);
        switch.mend(0, 1);
        pair.send(2);
        assert_eq!(pair.judged(2).cut, 2);
        let port = pair.proxy.port(0, 1).unwrap();
        pair.nodes[1].send_to(b"back", (LOCALHOST, port)).unwrap();
        pair.nodes[0].set_read_timeout(Some(LONG)).unwrap();
        assert_eq!(pair.nodes[0].recv_from(&mut [0; 8]).unwrap().0, 4);
        switch.mend(0, 1);
        pair.send(3);
        // What was cut does not come later.
        assert_eq!(pair.receive(LONG), Some(3));
        switch.cut(0, 1);
        switch.heal();
        pair.send(4);
        assert_eq!(pair.receive(LONG), Some(4));
    }

    #[test]
    fn a_delay_is_waited_for_and_reordering_lets_others_overtake() {
        let pair = Pair::new(4);
        let delay_us = 40_000;
        let rates = Rates {
            delay_us,
            ..Rates::default()
        };
        pair.proxy.switch.set_all(rates);
        let sent = Instant::now();
        pair.send(1);
        assert_eq!(pair.receive(LONG), Some(1));
        assert!(sent.elapsed() >= Duration::from_micros(u64::from(delay_us)));

        pair.proxy.switch.heal();
        let held = Rates {
            reorder: 1_000_000,
            delay_us: 300_000,
            ..Rates::default()
        };
        pair.proxy.switch.set(0, 1, held);
        pair.send(1);
        pair.judged(2);
        pair.proxy.switch.heal();
        pair.send(2);
        assert_eq!((pair.receive(LONG), pair.receive(LONG)), (Some(2), Some(1)));
        assert_eq!(pair.judged(3).reordered, 1);
    }
}
