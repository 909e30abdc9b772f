//! RTP and RTCP measurement (RFC 3550, 3551, 3611, 5481): packets in, figures out.
//!
//! Sans-IO: no socket, clock, thread or randomness; points in time and seeds are arguments.
//! [`RtpStream`] is the whole of one two-way stream, [`StreamSnapshot`] what it reports.

mod burst;
mod event;
mod jitter;
mod lateness;
mod packet;
mod pdv;
mod percentile;
mod playout;
mod receiver;
mod rng;
mod rtcp;
mod sender;
mod sequence;
mod snapshot;
mod source;
mod spacing;
mod stream;
mod time;
mod window;

pub use burst::{BurstMeter, GMIN};
pub use event::{
    Digit, DigitError, Digits, DigitsSent, EventPacket, EventReceiver, EventReport, EventSender,
    REPORT_LEN, ReceivedDigit, SendDigits,
};
pub use jitter::Jitter;
pub use packet::{HEADER_LEN, RtpError, RtpHeader};
pub use rtcp::{
    Compound, Packet, ReportBlock, RtcpError, SenderInfo, write_bye, write_cname,
    write_receiver_report, write_sender_report,
};
pub use sequence::{MAX_DROPOUT, MAX_MISORDER, Sequence, Verdict};
pub use snapshot::{
    BurstGap, EventCounters, GeneratorSnapshot, Lateness, PDV_BUCKETS_MS, PlayoutCounters,
    PlayoutSnapshot, QualityWindow, ReceiveCounters, ReceiveSnapshot, RemoteReport, RtcpSnapshot,
    SendCounters, SendSnapshot, Spacing, StreamSnapshot,
};
pub use stream::{Datagram, EventTypes, RefusedDatagrams, RtpStream, StreamConfig};
pub use time::{NtpTime, Time};
