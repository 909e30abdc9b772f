//! Which workers a pool gives up first.

use std::cmp::Ordering;

use super::member::Member;

/// The place of a worker in the order; the first differing part decides, lower goes first.
fn rank(member: &Member, now: i64) -> (u8, u32, u32) {
    let busy = member.is_busy();
    let class = if member.unscheduled && !busy {
        0
    } else if member.failed && !busy {
        1
    } else if member.offline && !busy {
        2
    } else if member.outdated && !busy {
        3
    } else if !busy && member.drain.is_none() {
        4
    } else if !busy || (member.drain.is_some() && member.fenced) {
        5
    } else if member.outdated {
        6
    } else {
        7
    };
    // Ages are told apart by powers of two: workers of about one age are alike, and load decides.
    let age = u32::try_from(now.saturating_sub(member.created).max(0)).unwrap_or(u32::MAX);
    let newest = u32::BITS - age.leading_zeros();
    (class, member.endpoints.unwrap_or(u32::MAX), newest)
}

/// Workers in the order they are given up: those that lose least by it first. A worker of which the
/// load is not known counts as the busiest.
pub(crate) fn order(members: &mut [&Member], now: i64) {
    members.sort_by(|a, b| -> Ordering {
        rank(a, now)
            .cmp(&rank(b, now))
            .then_with(|| a.name.cmp(&b.name))
    });
}

#[cfg(test)]
pub(crate) mod tests {
    use callmeter_api::{
        pool::TokenSecretRef,
        worker::{DrainReason, PortBlock, WorkerNetworkMode},
    };
    use proptest::prelude::*;

    use super::*;

    pub(crate) fn idle(name: &str) -> Member {
        Member {
            name: name.into(),
            uid: format!("uid-{name}"),
            token: TokenSecretRef {
                name: format!("secret-{name}"),
                key: "token".into(),
            },
            slot: None,
            terminating: false,
            drain: None,
            drained: false,
            fenced: false,
            unscheduled: false,
            unschedulable: false,
            failed: false,
            offline: false,
            outdated: false,
            updated: true,
            ready: true,
            endpoints: Some(0),
            effective_capacity: 25,
            created: 0,
            network: (
                WorkerNetworkMode::Pod,
                PortBlock {
                    rtp_start: 10_000,
                    rtp_end: 10_099,
                    sip_start: 5060,
                    sip_end: 5079,
                    health: 3030,
                },
            ),
            blocked: None,
            token_refused: false,
        }
    }

    fn names(members: &[Member], now: i64) -> Vec<&str> {
        let mut refs: Vec<_> = members.iter().collect();
        order(&mut refs, now);
        refs.into_iter().map(|m| m.name.as_str()).collect()
    }

    #[test]
    fn classes_in_order() {
        let members = [
            Member {
                endpoints: None,
                ..idle("unknown")
            },
            Member {
                endpoints: Some(9),
                ..idle("busy")
            },
            Member {
                endpoints: Some(2),
                ..idle("less-busy")
            },
            Member {
                outdated: true,
                endpoints: Some(20),
                ..idle("outdated-busy")
            },
            Member {
                drain: Some(DrainReason::User),
                fenced: true,
                ..idle("draining")
            },
            idle("idle-old"),
            Member {
                created: 990,
                ..idle("idle-new")
            },
            Member {
                outdated: true,
                ..idle("outdated")
            },
            Member {
                offline: true,
                ..idle("offline")
            },
            Member {
                failed: true,
                ..idle("failed")
            },
            Member {
                unscheduled: true,
                ..idle("pending")
            },
        ];
        let expected = [
            "pending",
            "failed",
            "offline",
            "outdated",
            "idle-new",
            "idle-old",
            "draining",
            "outdated-busy",
            "less-busy",
            "busy",
            "unknown",
        ];
        assert_eq!(names(&members, 1000), expected);
    }

    pub(crate) fn any_member() -> impl Strategy<Value = Member> {
        let flags = prop::collection::vec(any::<bool>(), 8);
        let endpoints = prop::option::weighted(0.8, 0_u32..4);
        (flags, endpoints, 0_i64..1000, 0_u32..1000).prop_map(|(flags, endpoints, created, id)| {
            let draining = flags[0].then_some(if flags[1] {
                DrainReason::ScaleDown
            } else {
                DrainReason::User
            });
            Member {
                drain: draining,
                drained: draining.is_some() && flags[2] && endpoints == Some(0),
                fenced: draining.is_some() && flags[3],
                terminating: flags[4] && flags[5],
                offline: flags[5],
                failed: flags[6],
                outdated: flags[7],
                endpoints,
                created,
                slot: Some(id),
                ..idle(&format!("w{id}"))
            }
        })
    }

    proptest! {
        #[test]
        fn no_worker_that_may_be_busy_goes_before_one_that_is_idle(members in prop::collection::vec(any_member(), 0..20)) {
            let undrained: Vec<_> = members.into_iter().filter(|m| m.drain.is_none()).collect();
            let mut refs: Vec<_> = undrained.iter().collect();
            order(&mut refs, 1000);
            let first_busy = refs.iter().position(|m| m.is_busy()).unwrap_or(refs.len());
            prop_assert!(refs[first_busy..].iter().all(|m| m.is_busy()));
        }

        #[test]
        fn the_order_does_not_depend_on_how_workers_are_listed(members in prop::collection::vec(any_member(), 0..20)) {
            let mut distinct = members;
            distinct.sort_by(|a, b| a.name.cmp(&b.name));
            distinct.dedup_by(|a, b| a.name == b.name);
            let forward: Vec<String> = names(&distinct, 1000).into_iter().map(str::to_owned).collect();
            distinct.reverse();
            prop_assert_eq!(forward, names(&distinct, 1000));
        }
    }
}
