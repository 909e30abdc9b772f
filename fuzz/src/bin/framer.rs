//! Any byte stream gives the same frames however it is cut. The first byte says how.
#![no_main]

use callmeter_sip::{Frame, FrameError, Framer};
use libfuzzer_sys::fuzz_target;

fn frames<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> (Vec<Frame>, Option<FrameError>) {
    let mut framer = Framer::new();
    let mut found = Vec::new();
    for piece in pieces {
        framer.push(piece);
        loop {
            match framer.next_frame() {
                Ok(Some(frame)) => found.push(frame),
                Ok(None) => break,
                Err(error) => {
                    assert_eq!(framer.next_frame(), Err(error), "an error is final");
                    return (found, Some(error));
                }
            }
        }
    }
    (found, None)
}

fuzz_target!(|data: &[u8]| {
    let Some((&cut, stream)) = data.split_first() else {
        return;
    };
    let whole = frames(std::iter::once(stream));
    let cut = frames(stream.chunks(usize::from(cut).max(1)));
    assert_eq!(whole, cut);
});
