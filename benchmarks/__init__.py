APP_ID = "wxbench000000001"
SESSION_KEY = "tiihtNczf5v6AKRyjwEUhQ=="
