//! Messages over WebSocket, one in each of its messages (RFC 7118, RFC 6455).

use std::{collections::VecDeque, io, mem, net::TcpStream};

use bytes::Bytes;
use callmeter_sip::{LARGEST_MESSAGE, PING, PONG};
use rustls::pki_types::ServerName;
use tungstenite::{
    ClientHandshake, ClientRequestBuilder, Error, HandshakeError, Message, ServerHandshake,
    Utf8Bytes, WebSocket,
    client::IntoClientRequest as _,
    error::{CapacityError, ProtocolError},
    handshake::{
        HandshakeRole, MidHandshake,
        server::{ErrorResponse, Request, Response},
    },
    http::{HeaderValue, StatusCode, Uri, header::SEC_WEBSOCKET_PROTOCOL},
    protocol::WebSocketConfig,
};

use super::{
    carrier::{Broken, Carrier, Heard, MOST_QUEUED},
    wire::Wire,
};

/// The subprotocol both ends must name (RFC 7118 §4.1).
const SUBPROTOCOL: &str = "sip";
/// Messages taken from one connection before others get their turn.
const BURST: usize = 64;
/// Bytes read in one go; each connection has so much for itself.
const CHUNK: usize = 4 * 1024;
/// What is said of a handshake that came to nothing before.
const NOT_OPEN: &str = "the WebSocket is not open";

/// Answers the request for a WebSocket of a peer.
type Answer = fn(&Request, Response) -> Result<Response, ErrorResponse>;
type Asking = ClientHandshake<Wire>;
type Answering = ServerHandshake<Wire, Answer>;

/// Messages over WebSocket.
pub(super) struct Web {
    state: State,
    /// Messages that wait for the end of the handshake.
    queue: VecDeque<Bytes>,
    queued: usize,
    /// Not all that was sent is known to be written.
    unwritten: bool,
}

/// How far the handshake is.
enum State {
    /// TLS comes first; then we ask for this URI, or the peer asks.
    Before(Wire, Option<Uri>),
    Asking(Box<MidHandshake<Asking>>),
    Answering(Box<MidHandshake<Answering>>),
    Open(Box<WebSocket<Wire>>),
    Failed,
}

impl Web {
    /// A connection of ours to a URI of ws or wss.
    pub(super) fn to(wire: Wire, uri: Uri) -> Self {
        Self::new(State::Before(wire, Some(uri)))
    }

    /// A peer's connection.
    pub(super) fn accepted(wire: Wire) -> Self {
        Self::new(State::Before(wire, None))
    }

    fn new(state: State) -> Self {
        Self {
            state,
            queue: VecDeque::new(),
            queued: 0,
            unwritten: false,
        }
    }

    fn wire(&self) -> Option<&Wire> {
        match &self.state {
            State::Before(wire, _) => Some(wire),
            State::Asking(handshake) => Some(handshake.get_ref().get_ref()),
            State::Answering(handshake) => Some(handshake.get_ref().get_ref()),
            State::Open(open) => Some(open.get_ref()),
            State::Failed => None,
        }
    }

    /// Some peers keep a WebSocket alive as they do a stream (RFC 5626 §3.5.1).
    fn take(&mut self, message: Bytes, messages: &mut Vec<Bytes>) -> Result<(), Broken> {
        match &message[..] {
            PING => return self.send(as_message(Bytes::from_static(PONG))),
            PONG => {}
            _ => messages.push(message),
        }
        Ok(())
    }

    /// Sends over the open WebSocket.
    fn send(&mut self, message: Message) -> Result<(), Broken> {
        let State::Open(open) = &mut self.state else {
            return Err(Broken::because(NOT_OPEN));
        };
        self.unwritten = true;
        match open.write(message) {
            // What the socket does not take waits in a buffer of the WebSocket's.
            Err(error) if would_block(&error) => Ok(()),
            Err(Error::WriteBufferFull(_)) => Err(Broken::slow(MOST_QUEUED)),
            other => other.map_err(broken),
        }
    }
}

impl Carrier for Web {
    fn socket(&self) -> Option<&TcpStream> {
        self.wire().map(Wire::socket)
    }

    fn is_secure(&self) -> bool {
        self.wire().is_some_and(Wire::is_secure)
    }

    fn secure(&mut self) -> Result<bool, Broken> {
        match &mut self.state {
            State::Before(wire, _) => Ok(wire.handshake()?),
            _ => Ok(true),
        }
    }

    fn proves(&self, name: &ServerName<'_>) -> Result<(), Broken> {
        let wire = self.wire().ok_or_else(|| Broken::because(NOT_OPEN))?;
        Ok(wire.proves(name)?)
    }

    fn upgrade(&mut self) -> Result<bool, Broken> {
        let open = match mem::replace(&mut self.state, State::Failed) {
            State::Before(wire, Some(uri)) => {
                let request = ClientRequestBuilder::new(uri)
                    .with_sub_protocol(SUBPROTOCOL)
                    .into_client_request();
                let begun = request
                    .and_then(|request| ClientHandshake::start(wire, request, Some(config())));
                go_on(begun.map_err(broken)?, State::Asking)
                    .map(|done| done.map(|(open, _)| open))?
            }
            State::Before(wire, None) => {
                let begun = ServerHandshake::start(wire, answer as Answer, Some(config()));
                go_on(begun, State::Answering)?
            }
            State::Asking(handshake) => {
                go_on(*handshake, State::Asking).map(|done| done.map(|(open, _)| open))?
            }
            State::Answering(handshake) => go_on(*handshake, State::Answering)?,
            State::Open(open) => Ok(*open),
            State::Failed => return Err(Broken::because(NOT_OPEN)),
        };
        match open {
            Ok(open) => self.state = State::Open(Box::new(open)),
            Err(later) => {
                self.state = later;
                return Ok(false);
            }
        }
        self.queued = 0;
        for message in mem::take(&mut self.queue) {
            self.send(as_message(message))?;
        }
        Ok(true)
    }

    fn read(&mut self, messages: &mut Vec<Bytes>, _: &mut Vec<u8>) -> Result<Heard, Broken> {
        let mut heard = Heard::default();
        for _ in 0..BURST {
            let State::Open(open) = &mut self.state else {
                return Err(Broken::because(NOT_OPEN));
            };
            let message = match open.read() {
                Ok(message) => message,
                Err(error) if would_block(&error) => return Ok(heard),
                Err(error) => return Err(broken(error)),
            };
            heard.any = true;
            match message {
                Message::Text(text) => self.take(text.into(), messages)?,
                Message::Binary(bytes) => self.take(bytes, messages)?,
                // Its pong is on its way; the end after a close comes as an error.
                Message::Ping(_) => self.unwritten = true,
                Message::Pong(_) | Message::Close(_) | Message::Frame(_) => {}
            }
        }
        heard.more = true;
        Ok(heard)
    }

    fn queue(&mut self, message: Bytes) -> Result<(), Broken> {
        if matches!(self.state, State::Open(_)) {
            return self.send(as_message(message));
        }
        if self.queued + message.len() > MOST_QUEUED {
            return Err(Broken::slow(self.queued));
        }
        self.queued += message.len();
        self.queue.push_back(message);
        Ok(())
    }

    fn ping(&mut self) -> Result<(), Broken> {
        self.send(Message::Ping(Bytes::new()))
    }

    fn write(&mut self) -> Result<bool, Broken> {
        let State::Open(open) = &mut self.state else {
            return Ok(false);
        };
        if !self.unwritten {
            return Ok(false);
        }
        match open.flush() {
            Ok(()) => {
                self.unwritten = false;
                Ok(true)
            }
            Err(error) if would_block(&error) => Ok(false),
            Err(error) => Err(broken(error)),
        }
    }

    /// Its peers cannot leave a message half said for ever: its size is bounded, as its number is.
    fn is_within_message(&self) -> bool {
        false
    }

    fn close(&mut self) {
        if let State::Open(open) = &mut self.state {
            // There is nobody left to tell that it could not be said.
            let _ = open.close(None);
            open.get_mut().close();
        }
    }
}

/// Goes on with a handshake: its result, or the state to wait in.
fn go_on<R: HandshakeRole>(
    handshake: MidHandshake<R>,
    wait: fn(Box<MidHandshake<R>>) -> State,
) -> Result<Result<R::FinalResult, State>, Broken> {
    match handshake.handshake() {
        Ok(done) => Ok(Ok(done)),
        Err(HandshakeError::Interrupted(later)) => Ok(Err(wait(Box::new(later)))),
        Err(HandshakeError::Failure(error)) => {
            let broken = broken(error);
            Err(Broken {
                reason: format!("WebSocket handshake failure: {}", broken.reason),
                ..broken
            })
        }
    }
}

/// Accepts who offers SIP (RFC 7118 §4.1), whatever the path.
#[expect(clippy::result_large_err, reason = "the signature is the library's")]
fn answer(request: &Request, mut response: Response) -> Result<Response, ErrorResponse> {
    let offered = request.headers().get_all(SEC_WEBSOCKET_PROTOCOL);
    let mut names = offered
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','));
    if names.any(|name| name.trim().eq_ignore_ascii_case(SUBPROTOCOL)) {
        let ours = HeaderValue::from_static(SUBPROTOCOL);
        response.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, ours);
        return Ok(response);
    }
    let mut refusal = ErrorResponse::new(Some("Sec-WebSocket-Protocol: sip is missing".into()));
    *refusal.status_mut() = StatusCode::BAD_REQUEST;
    Err(refusal)
}

fn config() -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(CHUNK)
        .write_buffer_size(0)
        .max_write_buffer_size(MOST_QUEUED)
        .max_message_size(Some(LARGEST_MESSAGE))
        .max_frame_size(Some(LARGEST_MESSAGE))
}

/// Text where it can be: some peers take nothing else (RFC 7118 §4.2).
fn as_message(bytes: Bytes) -> Message {
    match Utf8Bytes::try_from(bytes.clone()) {
        Ok(text) => Message::Text(text),
        Err(_) => Message::Binary(bytes),
    }
}

fn would_block(error: &Error) -> bool {
    matches!(error, Error::Io(error) if error.kind() == io::ErrorKind::WouldBlock)
}

/// Why a WebSocket broke, for people.
fn broken(error: Error) -> Broken {
    match error {
        Error::Io(error) => Broken::from(error),
        Error::ConnectionClosed
        | Error::AlreadyClosed
        | Error::Protocol(
            ProtocolError::ResetWithoutClosingHandshake | ProtocolError::HandshakeIncomplete,
        ) => Broken::closed(),
        Error::Http(response) => {
            Broken::because(format!("the peer answered HTTP {}", response.status()))
        }
        Error::Capacity(CapacityError::MessageTooLong { size, max_size }) => Broken::malformed(
            format!("the peer's message has {size} bytes, more than {max_size}"),
        ),
        Error::Protocol(ProtocolError::SecWebSocketSubProtocolError(_)) => {
            Broken::because("the peer does not speak the subprotocol sip")
        }
        other => Broken::malformed(format!("the peer sent no WebSocket: {other}")),
    }
}
