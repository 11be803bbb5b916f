//! A 1.6 station on the `ocpp-client` crate: it boots, charges until it is given a limit, meters and
//! stops. Each answer is read by the crate's own types and checked by its own rules; the first that
//! does not hold ends the station with an error. What it was limited to goes to standard output.

use std::error::Error;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use ocpp_client::ocpp_1_6::{
    Authorize, BootNotification, Heartbeat, MeterValues, OCPP1_6Client, OCPP1_6Error,
    StartTransaction, StatusNotification, StopTransaction,
};
use ocpp_client::ocpp_types::v16::RpcErrorCode;
use ocpp_client::ocpp_types::validate::Validate;
use ocpp_client::{
    Action, Client, TokioExecutor, TokioTimer, TransportError, TransportEvent, TransportSink,
    TransportStream,
};
use serde::de::DeserializeOwned;
use serde_json::{Value, from_value, json, to_value};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;
type Failure = Box<dyn Error + Send + Sync>;
type Sent<'a> = Pin<Box<dyn Future<Output = Result<(), TransportError>> + Send + 'a>>;
type Received<'a> =
    Pin<Box<dyn Future<Output = Result<Option<TransportEvent>, TransportError>> + Send + 'a>>;

const WAIT: Duration = Duration::from_secs(20);

struct Sink(SplitSink<Socket, Message>);

impl Sink {
    fn put(&mut self, message: Message) -> Sent<'_> {
        Box::pin(async move { Ok(self.0.send(message).await?) })
    }
}

impl TransportSink for Sink {
    fn send(&mut self, frame: String) -> Sent<'_> {
        self.put(Message::text(frame))
    }

    fn ping(&mut self, payload: Vec<u8>) -> Sent<'_> {
        self.put(Message::Ping(payload.into()))
    }

    fn pong(&mut self, payload: Vec<u8>) -> Sent<'_> {
        self.put(Message::Pong(payload.into()))
    }

    fn close(&mut self) -> Sent<'_> {
        Box::pin(async move { Ok(self.0.close().await?) })
    }
}

struct Source(SplitStream<Socket>);

impl TransportStream for Source {
    fn recv(&mut self) -> Received<'_> {
        Box::pin(async move {
            while let Some(message) = self.0.next().await {
                match message? {
                    Message::Text(text) => {
                        return Ok(Some(TransportEvent::Frame(text.to_string())));
                    }
                    Message::Ping(payload) => {
                        return Ok(Some(TransportEvent::Ping(payload.into())));
                    }
                    Message::Pong(payload) => {
                        return Ok(Some(TransportEvent::Pong(payload.into())));
                    }
                    Message::Close(_) => return Ok(None),
                    _ => {}
                }
            }
            Ok(None)
        })
    }
}

async fn connected(url: &str) -> Result<OCPP1_6Client, Failure> {
    let mut request = url.into_client_request()?;
    request.headers_mut().insert("Sec-WebSocket-Protocol", "ocpp1.6".parse()?);
    let (socket, _) = connect_async(request).await?;
    let (sink, source) = socket.split();
    Ok(Client::from_transport(
        Box::new(Sink(sink)),
        Box::new(Source(source)),
        WAIT,
        Box::new(TokioExecutor),
        Box::new(TokioTimer),
    ))
}

/// Sends the request and gives back the answer, checked by the crate.
async fn ask<A>(client: &OCPP1_6Client, request: Value) -> Result<Value, Failure>
where
    A: Action,
    A::Response: Validate,
{
    let request: A::Request = from_value(request)?;
    let answer =
        client.call::<A>(request).await.map_err(|error| format!("{}: {error}", A::NAME))?;
    answer.validate().map_err(|error| format!("{}: {error:?}", A::NAME))?;
    Ok(to_value(answer)?)
}

fn accepted(answer: &Value, what: &str) -> Result<(), Failure> {
    if answer["status"] == "Accepted" {
        return Ok(());
    }
    Err(format!("{what} was answered {answer}").into())
}

fn answer<T: DeserializeOwned>(value: Value) -> Result<T, OCPP1_6Error> {
    from_value(value).map_err(|error| OCPP1_6Error {
        code: RpcErrorCode::InternalError,
        description: error.to_string(),
        details: json!({}),
    })
}

fn reading(register_wh: u32) -> Value {
    let energy = json!({"value": register_wh.to_string(), "unit": "Wh",
        "measurand": "Energy.Active.Import.Register"});
    let power = json!({"value": "3680", "unit": "W", "measurand": "Power.Active.Import"});
    json!({"timestamp": now(), "sampledValue": [energy, power]})
}

/// The instant that the station stamps everything with: its clock is set once, at its start.
fn now() -> String {
    std::env::args().nth(2).unwrap_or_default()
}

/// Answers what Loadstar asks of a station that has no setting, and tells of a limit on its
/// transaction.
async fn obey(client: &OCPP1_6Client, limited: Arc<Notify>, last: Arc<Mutex<Value>>) {
    client
        .on_get_configuration(|request, _| async move {
            let asked = to_value(request).unwrap_or_default();
            answer(json!({"configurationKey": [], "unknownKey": asked["key"]}))
        })
        .await;
    client
        .on_set_charging_profile(move |request, _| {
            let asked = to_value(request).unwrap_or_default();
            if asked["csChargingProfiles"]["chargingProfilePurpose"] == "TxProfile" {
                *last.lock().unwrap_or_else(|broken| broken.into_inner()) = asked;
                limited.notify_one();
            }
            async { answer(json!({"status": "Accepted"})) }
        })
        .await;
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failure> {
    let url = std::env::args().nth(1).ok_or("URL of the station, instant")?;
    let client = connected(&url).await?;
    let (limited, last) = (Arc::new(Notify::new()), Arc::new(Mutex::new(Value::Null)));
    obey(&client, Arc::clone(&limited), Arc::clone(&last)).await;

    let maker = json!({"chargePointVendor": "Flowion", "chargePointModel": "ocpp-client"});
    accepted(&ask::<BootNotification>(&client, maker).await?, "the boot")?;
    ask::<Heartbeat>(&client, json!({})).await?;
    let status = |word: &str| json!({"connectorId": 1, "errorCode": "NoError", "status": word});
    ask::<StatusNotification>(&client, status("Preparing")).await?;
    let card = ask::<Authorize>(&client, json!({"idTag": "ALICE"})).await?;
    accepted(&card["idTagInfo"], "the card")?;
    let begin = json!({"connectorId": 1, "idTag": "ALICE", "meterStart": 1_000,
        "timestamp": now()});
    let begun = ask::<StartTransaction>(&client, begin).await?;
    accepted(&begun["idTagInfo"], "the start")?;
    let transaction = &begun["transactionId"];
    ask::<StatusNotification>(&client, status("Charging")).await?;
    tokio::time::timeout(WAIT, limited.notified()).await?;
    let sample = json!({"connectorId": 1, "transactionId": transaction,
        "meterValue": [reading(1_400)]});
    ask::<MeterValues>(&client, sample).await?;
    let end = json!({"transactionId": transaction, "idTag": "ALICE", "meterStop": 1_750,
        "timestamp": now(), "reason": "Local"});
    ask::<StopTransaction>(&client, end).await?;
    ask::<StatusNotification>(&client, status("Available")).await?;
    client.disconnect().await.map_err(|error| error.to_string())?;
    println!("{}", last.lock().map_err(|error| error.to_string())?);
    Ok(())
}
