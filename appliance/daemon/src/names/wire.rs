//! Messages as bytes. Pure.

use hickory_proto::{
    op::{Edns, Message, MessageType, Metadata, OpCode, Query, ResponseCode},
    serialize::binary::{BinEncodable as _, BinEncoder},
};

/// The longest answer by UDP that no network has to cut in pieces (DNS flag day 2020).
pub const LONGEST: u16 = 1232;

/// A question to somebody else, and what its asker has to be answered with.
#[derive(Debug, Clone)]
pub struct Asked {
    request: Metadata,
    pub question: Query,
    /// Signatures are wanted, too (RFC 3225).
    pub dnssec: bool,
    edns: bool,
    /// How long an answer by UDP may be.
    limit: u16,
}

impl Asked {
    /// None without a question.
    pub fn new(request: Message) -> Option<Self> {
        let limit = limit(&request);
        let dnssec = request.edns.as_ref().is_some_and(|edns| edns.flags().dnssec_ok);
        let (metadata, edns) = (request.metadata, request.edns.is_some());
        let question = request.queries.into_iter().next()?;
        Some(Asked { request: metadata, question, dnssec, edns, limit })
    }

    /// Answers are not to be checked by who is asked (RFC 4035 section 3.2.2).
    pub fn unchecked(&self) -> bool {
        self.request.checking_disabled
    }

    /// The question as it is asked of somebody else, under another number.
    pub fn question(&self, id: u16) -> Message {
        let mut message = Message::new(id, MessageType::Query, OpCode::Query);
        message.metadata.recursion_desired = true;
        message.metadata.checking_disabled = self.request.checking_disabled;
        message.add_query(self.question.clone());
        message.set_edns(edns(self.dnssec));
        message
    }

    /// Whether this is an answer to [`question`](Self::question) of this number.
    pub fn is_answered_by(&self, id: u16, answer: &Message) -> bool {
        let ours = |query: &Query| {
            let wanted = (self.question.query_type, self.question.query_class);
            query.name == self.question.name && (query.query_type, query.query_class) == wanted
        };
        answer.metadata.message_type == MessageType::Response
            && answer.metadata.id == id
            && matches!(answer.queries.as_slice(), [query] if ours(query))
    }

    /// What the asker is told: `found`, or that nobody knows now.
    pub fn answer(&self, found: Option<Message>) -> Message {
        let mut answer = Message::new(self.request.id, MessageType::Response, OpCode::Query);
        answer.metadata = Metadata::response_from_request(&self.request);
        answer.metadata.recursion_available = true;
        answer.add_query(self.question.clone());
        match found {
            Some(found) => {
                answer.metadata.response_code = found.metadata.response_code;
                answer.metadata.authentic_data = found.metadata.authentic_data;
                (answer.answers, answer.authorities) = (found.answers, found.authorities);
                answer.additionals = found.additionals;
            }
            None => answer.metadata.response_code = ResponseCode::ServFail,
        }
        if self.edns {
            answer.set_edns(edns(self.dnssec));
        }
        answer
    }

    /// As bytes for UDP.
    pub fn limit(&self) -> u16 {
        self.limit
    }
}

/// How long an answer by UDP may be.
pub fn limit(request: &Message) -> u16 {
    request.max_payload().min(LONGEST)
}

fn edns(dnssec: bool) -> Edns {
    let mut edns = Edns::new();
    edns.set_max_payload(LONGEST).set_version(0).set_dnssec_ok(dnssec);
    edns
}

/// An answer without records.
pub fn answer_to(request: &Message, code: ResponseCode) -> Message {
    let mut answer = Message::new(request.metadata.id, MessageType::Response, request.metadata.op_code);
    answer.metadata = Metadata::response_from_request(&request.metadata);
    answer.metadata.recursion_available = true;
    answer.metadata.response_code = code;
    answer.add_queries(request.queries.iter().take(1).cloned());
    if let Some(asked) = &request.edns {
        answer.set_edns(edns(asked.flags().dnssec_ok));
    }
    answer
}

/// As bytes, at most so many: what does not fit is left out and told of (TC), so that the asker comes by TCP.
pub fn bytes(message: &Message, limit: u16) -> Option<Vec<u8>> {
    let encode = |message: &Message| {
        let mut bytes = Vec::with_capacity(512);
        let mut encoder = BinEncoder::new(&mut bytes);
        encoder.set_max_size(limit);
        message.emit(&mut encoder).is_ok().then_some(bytes)
    };
    match encode(message) {
        Some(bytes) => Some(bytes),
        None => encode(&message.truncate()),
    }
}
