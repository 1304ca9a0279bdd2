"""A service that needs its database and NATS to start."""

from fastapi import FastAPI

import glam_sdk
from glam_sdk.database import Base

service = glam_sdk.init("needy")
app = service.install(FastAPI())
service.use_database(Base.metadata)
service.use_messaging()
