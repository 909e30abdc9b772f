//! gRPC messages as plain bytes, so that a peer can write what is no message.
#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test binary uses a part of it"
)]

use bytes::{Buf as _, BufMut as _, Bytes};
use tonic::Status;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};

/// Takes and gives the bytes of messages as they are.
#[derive(Debug, Clone, Copy, Default)]
pub struct Wire;

impl Codec for Wire {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        *self
    }

    fn decoder(&mut self) -> Self {
        *self
    }
}

impl Encoder for Wire {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        to.put(item);
        Ok(())
    }
}

impl Decoder for Wire {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(from.copy_to_bytes(from.remaining())))
    }
}

/// A message of a kind this version does not know: field 99 with three bytes.
pub fn unknown_kind() -> Bytes {
    Bytes::from_static(&[0x9a, 0x06, 3, 1, 2, 3])
}

/// The message without its last byte.
pub fn truncated(message: &[u8]) -> Bytes {
    Bytes::copy_from_slice(&message[..message.len() - 1])
}
