"""The mobile application, on a command line: signs in, calls the API, refreshes its tokens.

python phone.py http://127.0.0.1:8000 alice wonderland
"""

import json
import sys
from urllib.parse import urlencode
from urllib.request import Request, urlopen


def send(url: str, form: dict[str, str] | None = None, token: str | None = None) -> dict[str, str]:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    body = urlencode(form).encode() if form else None
    with urlopen(Request(url, body, headers), timeout=10) as answer:
        return json.load(answer)


def main(shop: str, user: str, password: str) -> None:
    tokens = send(f"{shop}/phone/sign-in", {"user": user, "password": password, "device": "my phone"})
    print("orders:", send(f"{shop}/api/orders", token=tokens["access_token"]))
    form = {"grant_type": "refresh_token", "client_id": "phone", "refresh_token": tokens["refresh_token"]}
    tokens = send(f"{shop}/oauth2/token", form)
    print("orders, with a refreshed token:", send(f"{shop}/api/orders", token=tokens["access_token"]))


if __name__ == "__main__":
    main(*sys.argv[1:])
