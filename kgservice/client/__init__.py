"""A client of the service for Python: the answers of REST as the frozen dataclasses of `kgservice.answers`.

::

    from kgservice.answers import Question
    from kgservice.client import Client

    with Client("http://localhost:8000") as service:
        answer = service.complete(Question(relation="world:memberOf", object="world:European_Union"), k=3)

Importing it loads neither torch nor a model.
"""

from kgservice.client.asynchronous import AsyncClient
from kgservice.client.patience import Patience
from kgservice.client.refusals import Refused, Unreachable
from kgservice.client.synchronous import Client

__all__ = ["AsyncClient", "Client", "Patience", "Refused", "Unreachable"]
