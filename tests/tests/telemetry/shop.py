"""A shop with no word of telemetry in it: it answers 60 requests that it makes itself, and ends."""

import sys
import threading
import time

import requests
from flask import Flask
from werkzeug.serving import make_server

app = Flask(__name__)


@app.get("/orders/<int:order>")
def show(order):
    time.sleep(0.001 * (order % 10))
    return {"order": order}


@app.post("/orders")
def order():
    return {"error": "no till"}, 500


server = make_server("127.0.0.1", 0, app, threaded=True)
threading.Thread(target=server.serve_forever, daemon=True).start()
address = f"http://127.0.0.1:{server.port}"
for at in range(50):
    assert requests.get(f"{address}/orders/{at}", timeout=10).status_code == 200
for at in range(10):
    assert requests.post(f"{address}/orders", json={}, timeout=10).status_code == 500
server.shutdown()
sys.stdout.write("served\n")
