//! RFC 3264 §6.1 and §8.4: what two sides agree on in every state of hold.

use Direction::{Inactive, RecvOnly, SendOnly, SendRecv};
use proptest::prelude::*;

use super::*;

/// One side of a session and what it knows.
#[derive(Debug, Default)]
struct Side {
    holds: bool,
    held: bool,
    agreed: Option<Direction>,
}

fn ready(direction: Direction) -> LocalAudio {
    LocalAudio {
        direction,
        ..both()
    }
}

impl Side {
    fn agree(&mut self, negotiated: &Negotiated) {
        self.held = negotiated.held;
        self.agreed = Some(negotiated.direction);
    }
}

fn exchange(offerer: &mut Side, answerer: &mut Side) {
    let local = ready(Direction::offered(offerer.holds, offerer.held));
    let answering = ready(Direction::answered(answerer.holds));
    let (text, at_answerer) = answer(&offer(&local), &answering).unwrap();
    answerer.agree(&at_answerer);
    offerer.agree(&accept(&text, &local).unwrap());
}

#[test]
fn hold_and_resume_one_after_the_other() {
    let (mut a, mut b) = (Side::default(), Side::default());
    let mut step = |a_holds: bool, b_holds: bool, a_offers: bool| {
        (a.holds, b.holds) = (a_holds, b_holds);
        if a_offers {
            exchange(&mut a, &mut b);
        } else {
            exchange(&mut b, &mut a);
        }
        (a.agreed.unwrap(), b.agreed.unwrap(), a.held, b.held)
    };
    assert_eq!(step(false, false, true), (SendRecv, SendRecv, false, false));
    assert_eq!(step(true, false, true), (SendOnly, RecvOnly, false, true));
    // The held side refreshes the session: the hold stays.
    assert_eq!(step(true, false, false), (SendOnly, RecvOnly, false, true));
    // The held side holds as well, and one after the other resumes.
    assert_eq!(step(true, true, false), (Inactive, Inactive, true, true));
    assert_eq!(step(false, true, true), (RecvOnly, SendOnly, true, false));
    assert_eq!(
        step(false, false, false),
        (SendRecv, SendRecv, false, false)
    );
}

#[test]
fn what_is_offered() {
    assert_eq!(Direction::offered(false, false), SendRecv);
    assert_eq!(Direction::offered(false, true), SendRecv);
    assert_eq!(Direction::offered(true, false), SendOnly);
    assert_eq!(Direction::offered(true, true), Inactive);
    assert_eq!(Direction::answered(false), SendRecv);
    assert_eq!(Direction::answered(true), SendOnly);
}

/// An answer never claims more than the offer allows (§6.1).
#[test]
fn every_offer_has_an_allowed_answer() {
    let allowed: [(Direction, &[Direction]); 4] = [
        (SendRecv, &[SendRecv, SendOnly, RecvOnly, Inactive]),
        (SendOnly, &[RecvOnly, Inactive]),
        (RecvOnly, &[SendOnly, Inactive]),
        (Inactive, &[Inactive]),
    ];
    for (offered, allowed) in allowed {
        let offered = ready(offered);
        for answering in [SendRecv, SendOnly, RecvOnly, Inactive].map(ready) {
            let (text, at_answerer) = answer(&offer(&offered), &answering).unwrap();
            let at_offerer = accept(&text, &offered).unwrap();
            let (ours, theirs) = (at_offerer.direction, at_answerer.direction);
            assert!(allowed.contains(&theirs), "{offered:?} {answering:?}");
            assert_eq!(ours, Direction::new(theirs.receives(), theirs.sends()));
        }
    }
}

proptest! {
    /// However holds and offers follow each other: who is held knows it, and each side sends
    /// exactly when the other one does not hold.
    #[test]
    fn both_sides_always_agree(
        steps in proptest::collection::vec((any::<bool>(), any::<bool>()), 1..30),
    ) {
        let (mut a, mut b) = (Side::default(), Side::default());
        for (a_acts, holds) in steps {
            let (actor, other) = if a_acts { (&mut a, &mut b) } else { (&mut b, &mut a) };
            actor.holds = holds;
            exchange(actor, other);
            for (one, far) in [(&*actor, &*other), (&*other, &*actor)] {
                prop_assert_eq!(one.held, far.holds);
                prop_assert_eq!(one.agreed.unwrap().sends(), !far.holds);
                prop_assert_eq!(one.agreed.unwrap().receives(), !one.holds);
            }
        }
    }
}
