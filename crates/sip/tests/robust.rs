//! Mutated messages in the middle of a call never panic and never end it twice.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests fail by panicking"
)]

mod pair;

use callmeter_sip::EndpointKey;
use callmeter_sip::message::Message;
use proptest::prelude::*;

use pair::peer::{ASK, Ask, CONTACT, PEER, US, alone, ask, to_tag};
use pair::{answer_at_once, reply};

/// Messages of a peer in and around a call with our tag `tag`; `invite` is one of ours.
fn corpus(tag: &str, invite: &Message) -> Vec<String> {
    let base = Ask { body: "v=0", ..ASK };
    let challenge = "WWW-Authenticate: Digest realm=\"r\", nonce=\"n\", qop=\"auth,auth-int\"\r\n";
    vec![
        base.text(),
        Ask {
            branch: "2",
            cseq: 2,
            to_tag: tag,
            ..base
        }
        .text(),
        Ask {
            method: "ACK",
            branch: "3",
            to_tag: tag,
            ..ASK
        }
        .text(),
        Ask {
            method: "BYE",
            branch: "4",
            cseq: 3,
            to_tag: tag,
            ..ASK
        }
        .text(),
        Ask {
            method: "CANCEL",
            ..ASK
        }
        .text(),
        Ask {
            method: "UPDATE",
            branch: "5",
            cseq: 4,
            to_tag: tag,
            ..base
        }
        .text(),
        Ask {
            method: "OPTIONS",
            branch: "6",
            ..ASK
        }
        .text(),
        reply(invite, "180 Ringing", "t", CONTACT, ""),
        reply(invite, "200 OK", "t", CONTACT, "v=0"),
        reply(invite, "401 No", "t", challenge, ""),
        reply(
            invite,
            "486 Busy",
            "t",
            "Retry-After: 5 (x);duration=1\r\n",
            "",
        ),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn a_call_survives_mutated_messages(
        picks in prop::collection::vec((any::<prop::sample::Index>(), prop::collection::vec(
            (any::<prop::sample::Index>(), any::<u8>()), 0..6)), 1..12),
    ) {
        let mut net = alone(answer_at_once);
        let got = ask(&mut net, &Ask { body: "v=0", ..ASK });
        let tag = to_tag(&got[1]);
        net.call(&format!("sip:p@{PEER}"));
        net.run_for(pair::millis(20));
        let invite = net.take_raw(PEER).remove(0);
        let corpus = corpus(&tag, &invite);
        for (pick, changes) in picks {
            let mut bytes = corpus[pick.index(corpus.len())].clone().into_bytes();
            for (index, byte) in changes {
                let odd = b"\r\n \t:;,<>\"\\=@[]%/?0";
                let byte = odd.get(usize::from(byte) % 40).copied().unwrap_or(byte);
                let position = index.index(bytes.len());
                bytes[position] = byte;
            }
            net.send_bytes(PEER, US, &bytes);
            net.run_for(pair::millis(30));
        }
        net.run_out();
        // Every call but those that stand has ended, once.
        let agent = &net.agents[0];
        let begun = agent.call_events().iter().filter(|name| **name == "incoming").count() + 1;
        let standing = agent.standing();
        prop_assert_eq!(agent.ends().len() + standing, begun);
        prop_assert!(agent.ua.endpoint_counters(EndpointKey(1)).is_some());
    }
}
