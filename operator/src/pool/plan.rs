//! What a pool does next: a pure function of what is asked for and what is there.

use std::collections::BTreeSet;

use callmeter_api::{pool::TokenSecretRef, worker::DrainReason};

use super::{
    member::Member,
    validate::{TokenSource, ValidatedPool},
    victims,
};
use crate::naming;

/// What to do. Names are of workers.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Plan {
    /// Workers to make.
    pub(crate) create: Vec<NewWorker>,
    /// Drains to take back: the pool wants the workers after all.
    pub(crate) cancel: Vec<String>,
    /// Workers to drain.
    pub(crate) drain: Vec<String>,
    /// Drained workers to delete.
    pub(crate) remove: Vec<String>,
    /// Workers that cannot be made because no token is free.
    pub(crate) lacking: u32,
    /// Listed tokens that a worker of another pool holds.
    pub(crate) held_elsewhere: Vec<TokenSecretRef>,
}

impl Plan {
    /// Whether anything is to be written.
    pub(crate) fn is_empty(&self) -> bool {
        let Self {
            create,
            cancel,
            drain,
            remove,
            lacking: _,
            held_elsewhere: _,
        } = self;
        create.is_empty() && cancel.is_empty() && drain.is_empty() && remove.is_empty()
    }
}

/// A worker to make, named after its token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NewWorker {
    pub(crate) name: String,
    pub(crate) token: TokenSecretRef,
    pub(crate) slot: Option<u32>,
}

/// Decides. `elsewhere` are the tokens of workers of other pools in the namespace, terminating ones
/// included; `now` in Unix seconds.
pub(crate) fn plan(
    pool: &ValidatedPool,
    desired: u32,
    members: &[Member],
    elsewhere: &BTreeSet<TokenSecretRef>,
    now: i64,
) -> Plan {
    let mut plan = Plan {
        remove: members
            .iter()
            .filter(|m| m.drained && m.drain == Some(DrainReason::ScaleDown) && !m.terminating)
            .map(|m| m.name.clone())
            .collect(),
        ..Plan::default()
    };
    let listed = |m: &Member| match &pool.tokens {
        TokenSource::Secrets(secrets) => secrets.contains(&m.token),
        TokenSource::Claim => m.slot.is_some(),
    };
    // A worker whose token was taken off the list has to go, whatever the number asked for.
    plan.drain = members
        .iter()
        .filter(|m| m.is_live() && !listed(m))
        .map(|m| m.name.clone())
        .collect();

    let mut live: Vec<&Member> = members
        .iter()
        .filter(|m| m.is_live() && listed(m))
        .collect();
    let wanted = desired as usize;
    if live.len() > wanted {
        victims::order(&mut live, now);
        let excess = live.len() - wanted;
        plan.drain
            .extend(live[..excess].iter().map(|m| m.name.clone()));
        return plan;
    }

    let mut missing = wanted - live.len();
    // Those that are furthest from being empty come back first: they lose most by going.
    let mut returning: Vec<&Member> = members
        .iter()
        .filter(|m| {
            !m.terminating && m.drain == Some(DrainReason::ScaleDown) && !m.drained && listed(m)
        })
        .collect();
    victims::order(&mut returning, now);
    for member in returning.into_iter().rev().take(missing) {
        plan.cancel.push(member.name.clone());
        missing -= 1;
    }

    match &pool.tokens {
        TokenSource::Secrets(secrets) => {
            plan.held_elsewhere = secrets
                .iter()
                .filter(|t| elsewhere.contains(*t))
                .cloned()
                .collect();
            let free = secrets
                .iter()
                .filter(|t| !elsewhere.contains(*t) && !members.iter().any(|m| m.token == **t));
            for token in free.take(missing) {
                plan.create.push(NewWorker {
                    name: naming::worker_of_secret(&pool.namespace, &pool.name, token),
                    token: token.clone(),
                    slot: None,
                });
            }
        }
        TokenSource::Claim => {
            let used: BTreeSet<u32> = members.iter().filter_map(|m| m.slot).collect();
            for slot in (0..).filter(|slot| !used.contains(slot)).take(missing) {
                let name = naming::worker_of_slot(&pool.name, &pool.uid, slot);
                plan.create.push(NewWorker {
                    token: TokenSecretRef {
                        name: naming::token_secret(&name),
                        key: callmeter_api::labels::TOKEN_KEY.to_owned(),
                    },
                    name,
                    slot: Some(slot),
                });
            }
        }
    }
    plan.lacking = (missing - plan.create.len()) as u32;
    plan
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{
        super::{
            validate::tests::valid,
            victims::tests::{any_member, idle},
        },
        *,
    };

    fn secrets_pool() -> ValidatedPool {
        valid(
            "{capacity: {endpointsPerWorker: 25}, tokens: {secrets: [{name: a, key: t}, {name: b, key: t}, {name: c, key: t}]}}",
        )
    }

    fn claim_pool() -> ValidatedPool {
        valid("{capacity: {endpointsPerWorker: 25}}")
    }

    fn token(name: &str) -> TokenSecretRef {
        TokenSecretRef {
            name: name.into(),
            key: "t".into(),
        }
    }

    fn holder(of: &str) -> Member {
        Member {
            token: token(of),
            ..idle(&format!("w-{of}"))
        }
    }

    #[test]
    fn tokens_are_leased_in_order_and_what_is_lacking_is_told() {
        let plan = plan(
            &secrets_pool(),
            5,
            &[holder("b")],
            &BTreeSet::from([token("c")]),
            0,
        );
        assert_eq!(
            plan.create
                .iter()
                .map(|w| w.token.name.as_str())
                .collect::<Vec<_>>(),
            ["a"]
        );
        assert_eq!((plan.lacking, plan.held_elsewhere), (3, vec![token("c")]));
    }

    #[test]
    fn the_token_of_a_terminating_worker_is_not_free() {
        let gone = Member {
            terminating: true,
            ..holder("a")
        };
        let plan = plan(&secrets_pool(), 3, &[gone], &BTreeSet::new(), 0);
        assert_eq!(
            plan.create
                .iter()
                .map(|w| w.token.name.as_str())
                .collect::<Vec<_>>(),
            ["b", "c"]
        );
        assert_eq!(plan.lacking, 1);
    }

    #[test]
    fn a_worker_whose_token_left_the_list_is_drained_and_replaced() {
        let plan = plan(&secrets_pool(), 1, &[holder("old")], &BTreeSet::new(), 0);
        assert_eq!(plan.drain, ["w-old"]);
        assert_eq!(plan.create.len(), 1);
    }

    #[test]
    fn a_drain_is_taken_back_before_a_worker_is_made() {
        let draining = |name: &str, endpoints| Member {
            drain: Some(DrainReason::ScaleDown),
            fenced: true,
            endpoints: Some(endpoints),
            ..holder(name)
        };
        let members = [draining("a", 0), draining("b", 7)];
        let up_by_one = plan(&secrets_pool(), 1, &members, &BTreeSet::new(), 0);
        assert_eq!(
            (up_by_one.cancel, up_by_one.create.len()),
            (vec!["w-b".to_owned()], 0)
        );
        let up_by_three = plan(&secrets_pool(), 3, &members, &BTreeSet::new(), 0);
        assert_eq!((up_by_three.cancel.len(), up_by_three.create.len()), (2, 1));
    }

    #[test]
    fn a_drained_worker_is_removed_and_not_brought_back() {
        let drained = Member {
            drain: Some(DrainReason::ScaleDown),
            drained: true,
            ..holder("a")
        };
        let plan = plan(&secrets_pool(), 1, &[drained], &BTreeSet::new(), 0);
        assert_eq!(
            (plan.remove, plan.cancel.len()),
            (vec!["w-a".to_owned()], 0)
        );
        assert_eq!(plan.create[0].token.name, "b");
    }

    #[test]
    fn minted_workers_take_the_lowest_free_slots() {
        let member = |slot| Member {
            slot: Some(slot),
            ..idle(&format!("w{slot}"))
        };
        let plan = plan(
            &claim_pool(),
            4,
            &[member(0), member(2)],
            &BTreeSet::new(),
            0,
        );
        assert_eq!(
            plan.create
                .iter()
                .filter_map(|w| w.slot)
                .collect::<Vec<_>>(),
            [1, 3]
        );
        assert_eq!(
            plan.create[0].token.name,
            format!("{}-token", plan.create[0].name)
        );
    }

    proptest! {
        /// Carried out at once, a plan gives the number asked for, never takes a token twice, and
        /// the next plan has nothing to add.
        #[test]
        fn a_plan_reaches_what_was_asked_for(members in prop::collection::vec(any_member(), 0..15), desired in 0_u32..20) {
            let mut members = members;
            members.sort_by_key(|m| m.slot);
            members.dedup_by_key(|m| m.slot);
            let pool = claim_pool();
            let first = plan(&pool, desired, &members, &BTreeSet::new(), 1000);
            let live_before = members.iter().filter(|m| m.is_live()).count();
            prop_assert!(first.drain.is_empty() || first.create.is_empty());
            prop_assert!(first.drain.len() <= live_before.saturating_sub(desired as usize));
            for member in &mut members {
                if first.drain.contains(&member.name) {
                    member.drain = Some(DrainReason::ScaleDown);
                    member.drained = false;
                }
                if first.cancel.contains(&member.name) {
                    member.drain = None;
                }
            }
            members.retain(|m| !first.remove.contains(&m.name));
            for new in &first.create {
                prop_assert!(members.iter().all(|m| m.slot != new.slot));
                members.push(Member { slot: new.slot, ..idle(&new.name) });
            }
            prop_assert_eq!(members.iter().filter(|m| m.is_live()).count(), desired as usize);
            let second = plan(&pool, desired, &members, &BTreeSet::new(), 1000);
            prop_assert!(second.is_empty(), "{second:?}");
        }
    }
}
