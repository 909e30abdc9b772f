//! Which streams are due in which millisecond.
//!
//! A stream of packet time p is due in every p-th slot of 1 ms. Its place is the hash of its id
//! modulo p, or the next place after that which holds the fewest streams: sends are spread evenly
//! whatever the ids are.

/// A stream's place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    packet_ms: u32,
    slot: u32,
}

impl Place {
    pub(super) fn packet_ms(self) -> u32 {
        self.packet_ms
    }
}

#[derive(Debug)]
struct Group {
    packet_ms: u32,
    slots: Vec<Vec<u32>>,
}

/// All places of one thread; streams are told by their index in the thread.
#[derive(Debug, Default)]
pub(super) struct Wheel {
    /// One per packet time in use: a handful.
    groups: Vec<Group>,
}

impl Wheel {
    /// Gives a stream its place; `packet_ms` is above 0.
    pub(super) fn insert(&mut self, stream: u32, packet_ms: u32, hash: u64) -> Place {
        let known = self
            .groups
            .iter()
            .position(|group| group.packet_ms == packet_ms);
        let at = known.unwrap_or_else(|| {
            let slots = vec![Vec::new(); packet_ms as usize];
            self.groups.push(Group { packet_ms, slots });
            self.groups.len() - 1
        });
        let slots = &mut self.groups[at].slots;
        let first = (hash % u64::from(packet_ms)) as u32;
        let candidates = (0..packet_ms).map(|step| (first + step) % packet_ms);
        let slot = candidates
            .min_by_key(|slot| slots[*slot as usize].len())
            .unwrap_or(first);
        slots[slot as usize].push(stream);
        Place { packet_ms, slot }
    }

    /// Takes a stream off its place.
    pub(super) fn remove(&mut self, stream: u32, place: Place) {
        if let Some(group) = self
            .groups
            .iter_mut()
            .find(|group| group.packet_ms == place.packet_ms)
        {
            let slot = &mut group.slots[place.slot as usize];
            if let Some(at) = slot.iter().position(|other| *other == stream) {
                slot.swap_remove(at);
            }
        }
    }

    /// Collects the streams due in millisecond `slot` into `due`.
    pub(super) fn due(&self, slot: u64, due: &mut Vec<u32>) {
        due.clear();
        for group in &self.groups {
            due.extend(&group.slots[(slot % u64::from(group.packet_ms)) as usize]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_stream_is_due_once_per_packet_time() {
        let mut wheel = Wheel::default();
        for stream in 0..100 {
            wheel.insert(
                stream,
                if stream < 70 { 20 } else { 30 },
                u64::from(stream) * 7919,
            );
        }
        let mut counts = vec![0; 100];
        let mut due = Vec::new();
        for slot in 1_000_000..1_000_060 {
            wheel.due(slot, &mut due);
            for stream in &due {
                counts[*stream as usize] += 1;
            }
        }
        assert!(counts[..70].iter().all(|n| *n == 3) && counts[70..].iter().all(|n| *n == 2));
    }

    /// G7: sends per slot stay close to their mean whatever the ids are.
    #[test]
    fn places_are_spread_evenly_also_for_equal_hashes() {
        for hash in [|_: u64| 5, |id: u64| id, |id: u64| id * 20] {
            let mut wheel = Wheel::default();
            for id in 0..1000_u64 {
                wheel.insert(id as u32, 20, hash(id));
            }
            let sizes: Vec<usize> = wheel.groups[0].slots.iter().map(Vec::len).collect();
            assert_eq!(
                (sizes.iter().min(), sizes.iter().max()),
                (Some(&50), Some(&50))
            );
        }
    }

    #[test]
    fn a_removed_stream_is_not_due_and_leaves_its_place_to_others() {
        let mut wheel = Wheel::default();
        let place = wheel.insert(1, 20, 3);
        assert_eq!(
            place,
            Place {
                packet_ms: 20,
                slot: 3
            }
        );
        wheel.remove(1, place);
        wheel.remove(1, place);
        let mut due = vec![9];
        wheel.due(3, &mut due);
        assert!(due.is_empty());
        assert_eq!(wheel.insert(2, 20, 3), place);
    }
}
