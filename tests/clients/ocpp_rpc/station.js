// A 1.6 station on the `ocpp-rpc` library, which in its strict mode checks every call and every
// answer against the schemas: it boots, charges until it is given a limit, meters and stops. What
// it was limited to goes to standard output; anything amiss ends it with an error.
'use strict';

const { RPCClient } = require('ocpp-rpc');

const WAIT_MS = 20000;
const [endpoint, identity] = process.argv.slice(2);

function expect(answer, what) {
  if (answer.status !== 'Accepted') throw new Error(`${what}: ${JSON.stringify(answer)}`);
}

function now() {
  return new Date().toISOString();
}

function fail(reason) {
  console.error(reason);
  process.exit(1);
}

async function main() {
  const station = new RPCClient({
    endpoint, identity, protocols: ['ocpp1.6'], strictMode: true, callTimeoutMs: WAIT_MS,
  });
  station.on('strictValidationFailure', fail);
  setTimeout(() => fail(new Error('not done in time')), WAIT_MS).unref();
  const limited = new Promise((resolve) => {
    station.handle('SetChargingProfile', ({ params }) => {
      if (params.csChargingProfiles.chargingProfilePurpose === 'TxProfile') resolve(params);
      return { status: 'Accepted' };
    });
  });
  station.handle('GetConfiguration', ({ params }) => ({
    configurationKey: [], unknownKey: params.key || [],
  }));
  await station.connect();
  expect(await station.call('BootNotification', {
    chargePointVendor: 'ocpp-rpc', chargePointModel: 'JavaScript',
  }), 'the boot');
  await station.call('Heartbeat', {});
  const status = (word) => station.call('StatusNotification', {
    connectorId: 1, errorCode: 'NoError', status: word,
  });
  await status('Preparing');
  expect((await station.call('Authorize', { idTag: 'ALICE' })).idTagInfo, 'the card');
  const begun = await station.call('StartTransaction', {
    connectorId: 1, idTag: 'ALICE', meterStart: 1000, timestamp: now(),
  });
  expect(begun.idTagInfo, 'the start');
  const { transactionId } = begun;
  await status('Charging');
  const limit = await limited;
  await station.call('MeterValues', {
    connectorId: 1,
    transactionId,
    meterValue: [{
      timestamp: now(),
      sampledValue: [
        { value: '1400', unit: 'Wh', measurand: 'Energy.Active.Import.Register' },
        { value: '3680', unit: 'W', measurand: 'Power.Active.Import' },
      ],
    }],
  });
  await station.call('StopTransaction', {
    transactionId, idTag: 'ALICE', meterStop: 1750, timestamp: now(), reason: 'Local',
  });
  await status('Available');
  await station.close();
  console.log(JSON.stringify(limit));
}

main().catch(fail);
